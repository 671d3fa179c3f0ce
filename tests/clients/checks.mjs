// Counts checks as the other suites do: a line for each, and `N passed, N failed` at the end.

/** How long one check may take. A dev chain's step lasts 2 s, so this is room for many of them. */
const PATIENCE_MS = 60_000;

let passed = 0;
let failed = 0;

/** Fails when the promise takes too long: nothing waits for ever. */
export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs one check, says how it went, and returns what it returned. */
export async function check(name, run, patience = PATIENCE_MS) {
  try {
    const result = await within(patience, run(), name);
    passed += 1;
    console.log(`ok      ${name}`);
    return result;
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${error?.stack ?? JSON.stringify(error)}`);
    return undefined;
  }
}

/** Says how it went in all, and ends the process. */
export function finish() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

/** The address of the node, which the driver gives as the only argument. */
export function nodeUrl() {
  const url = process.argv[2];
  if (!url?.startsWith('ws://')) {
    console.error('give the address of a node, like ws://127.0.0.1:9944');
    process.exit(2);
  }
  return url;
}

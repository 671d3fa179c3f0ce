// Lets polkadot.js open what `commonwatt key export` writes, and `commonwatt key inspect` what polkadot.js writes.
//
// usage: npm install @polkadot/keyring@13 @polkadot/util-crypto@13 && node round_trip.mjs PATH/TO/commonwatt

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

import { Keyring } from '@polkadot/keyring';
import { u8aToHex } from '@polkadot/util';
import { cryptoWaitReady, mnemonicGenerate, signatureVerify } from '@polkadot/util-crypto';

const binary = process.argv[2];
if (!binary) {
  console.error('usage: node round_trip.mjs PATH/TO/commonwatt');
  process.exit(2);
}
await cryptoWaitReady();
const folder = mkdtempSync(join(tmpdir(), 'commonwatt-keys-'));
const key = (...words) => execFileSync(binary, ['key', ...words], { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const write = (name, text) => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

let passed = 0;
try {
  for (const type of ['ed25519', 'sr25519']) {
    for (const password of [undefined, 'pass word', 'pässwörd', '0xC0ffee']) {
      for (const path of ['', '//member//7']) {
        const phrase = mnemonicGenerate(passed % 2 ? 24 : 12) + path;
        const expected = new Keyring({ type, ss58Format: 42 }).addFromUri(phrase);
        const suri = write(`suri-${passed}`, phrase);
        const given = password ? ['--account-password-file', write(`password-${passed}`, `${password}\n`)] : [];

        // Ours, opened by polkadot.js.
        const ours = join(folder, `ours-${passed}.json`);
        const protection = password ? given : ['--unencrypted'];
        key('export', '--suri', suri, '--scheme', type, ...protection, '--name', 'member 7', '--output', ours);
        const pair = new Keyring({ ss58Format: 42 }).createFromJson(JSON.parse(readFileSync(ours)));
        if (password) assert.throws(() => pair.unlock('wrong'));
        pair.unlock(password);
        assert.equal(pair.type, type);
        assert.equal(pair.meta.name, 'member 7');
        assert.equal(u8aToHex(pair.publicKey), u8aToHex(expected.publicKey));
        assert.ok(signatureVerify('message', pair.sign('message'), expected.address).isValid);

        // Theirs, opened by us.
        const theirs = write(`theirs-${passed}.json`, JSON.stringify(pair.toJson(password)));
        const seen = JSON.parse(key('inspect', theirs, '--json', ...given));
        assert.equal(seen.scheme, type);
        assert.equal(seen.publicKey, u8aToHex(expected.publicKey));
        assert.equal(seen.ss58Address, expected.address);
        passed += 1;
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed`);

// Sending transactions with @polkadot/api.

import assert from 'node:assert/strict';

/** Signs, submits, and waits until it is final; returns everything that is known of it. */
export function finalized(call, signer, options = {}) {
  return new Promise((resolve, reject) => {
    const statuses = [];
    call
      .signAndSend(signer, options, (result) => {
        statuses.push(result.status.type);
        if (result.status.isFinalized) {
          resolve({ ...result, result, statuses, block: result.status.asFinalized });
        } else if (result.isError) {
          reject(new Error(`it ended with ${result.status.type}`));
        }
      })
      .catch(reject);
  });
}

/** The first event of this name among those of a transaction. */
export const find = (events, section, method) =>
  events.map(({ event }) => event).find((event) => event.section === section && event.method === method);

/** The error with which the node answers. */
export async function refusal(promise) {
  const error = await promise.then(
    () => assert.fail('it was taken'),
    (error) => error,
  );
  assert.notEqual(error.code, 'ERR_ASSERTION', error.message);
  return error;
}

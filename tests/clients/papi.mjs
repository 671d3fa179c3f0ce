// What polkadot-api (PAPI) does with a development node.
//
//     node papi.mjs ws://127.0.0.1:PORT

import assert from 'node:assert/strict';
import { Keyring } from '@polkadot/keyring';
import { cryptoWaitReady } from '@polkadot/util-crypto';
import { getPolkadotSigner } from 'polkadot-api/signer';
import { createWsClient, WsEvent } from 'polkadot-api/ws';
import { WebSocket } from 'ws';
import { check, finish, nodeUrl } from './checks.mjs';

const url = nodeUrl();
const COINS = 1_000_000_000_000n;
const METERS = 57;
const HEADS = 3;

await cryptoWaitReady();
const pair = (kind, path) => new Keyring({ type: kind }).addFromUri(path);
const bob = pair('ed25519', '//Bob');
const charlie = pair('ed25519', '//Charlie');
const dave = pair('sr25519', '//Dave');
const eve = pair('sr25519', '//Eve');
const stranger = pair('sr25519', '//Stranger');
const signerOf = (pair) =>
  getPolkadotSigner(pair.publicKey, pair.type === 'ed25519' ? 'Ed25519' : 'Sr25519', (bytes) => pair.sign(bytes));

const states = [];
const client = createWsClient(url, {
  websocketClass: WebSocket,
  onStatusChanged: ({ type }) => states.push(type),
});
const api = client.getUnsafeApi();

await check('it connects', async () => {
  const { name, genesisHash, properties } = await client.getChainSpecData();
  // Without `chainSpec_v1_chainName` the library takes the node's name for the chain's.
  const { methods } = await client._request('rpc_methods', []);
  const isModern = methods.includes('chainSpec_v1_chainName');
  assert.equal(name, isModern ? 'Commonwatt Development' : 'commonwatt');
  assert.equal(properties.ss58Format, 42);
  assert.equal(genesisHash, await client._request('chain_getBlockHash', [0]));
});

await check('it reads the metadata', async () => {
  const version = await api.constants.System.Version();
  assert.equal(version.spec_name, 'commonwatt');
  const answer = await api.apis.Core.version();
  assert.equal(answer.spec_version, version.spec_version);
});

await check('it reads values and maps', async () => {
  const account = await api.query.System.Account.getValue(bob.address);
  assert.equal(account.data.free, COINS);
  const both = await api.query.System.Account.getValues([[bob.address], [stranger.address]]);
  assert.deepEqual(both.map(({ data }) => data.free), [COINS, 0n]);
  const meters = await api.query.Registry.Meters.getEntries();
  assert.equal(meters.length, METERS);
  assert.ok(meters.every(({ value }) => ['Consumption', 'Generation'].includes(value.kind.type)));
  const timing = await api.apis.EnergyApi.timing();
  assert.ok(timing.step_ms > 0n);
});

/** The next values of an observable. */
function collect(count, observable) {
  return new Promise((resolve, reject) => {
    const items = [];
    const subscription = observable.subscribe({
      next(item) {
        items.push(item);
        if (items.length === count) {
          // The first value may come before `subscribe` returns.
          queueMicrotask(() => subscription.unsubscribe());
          resolve(items);
        }
      },
      error: reject,
    });
  });
}

await check('it follows final blocks and values', async () => {
  const blocks = await collect(HEADS, client.finalizedBlock$);
  for (const [index, block] of blocks.entries()) {
    assert.equal(block.number, blocks[0].number + index);
    assert.equal(await client._request('chain_getBlockHash', [block.number]), block.hash);
    const header = await client.getBlockHeader(block.hash);
    assert.equal(header.number, block.number);
  }
  const times = await collect(HEADS, api.query.Timestamp.Now.watchValue());
  const { step_ms } = await api.apis.EnergyApi.timing();
  const now = times.map((time) => (typeof time === 'bigint' ? time : time.value));
  assert.ok(now.every((time, index) => index === 0 || time - now[index - 1] === step_ms), now.join());
});

for (const [from, to] of [
  [bob, charlie],
  [dave, eve],
]) {
  await check(`a transfer signed with ${from.type} becomes final`, async () => {
    const value = 1_234_567n;
    const call = api.tx.Balances.transfer_keep_alive({ dest: { type: 'Id', value: to.address }, value });
    const balance = async (who, at) => (await api.query.System.Account.getValue(who.address, { at })).data.free;
    const had = [await balance(from), await balance(to)];
    const fees = await call.getEstimatedFees(from.address);
    assert.ok(fees > 0n);
    const result = await call.signAndSubmit(signerOf(from));
    assert.ok(result.ok, JSON.stringify(result.dispatchError));
    const transfer = result.events.find(({ type, value }) => type === 'Balances' && value.type === 'Transfer');
    assert.deepEqual(transfer.value.value, { from: from.address, to: to.address, amount: value });
    const at = result.block.hash;
    assert.deepEqual([await balance(from, at), await balance(to, at)], [had[0] - value, had[1] + value]);
  });
}

await check("every cryptometer's report is decoded from the events of a block", async () => {
  const [, block] = await collect(2, client.finalizedBlock$);
  const events = await api.query.System.Events.getValue({ at: block.hash });
  const reported = events
    .map(({ event }) => event)
    .filter(({ type, value }) => type === 'EnergyToken' && value.type.endsWith('Reported'));
  assert.equal(reported.length, METERS);
  assert.ok(reported.every(({ value }) => value.value.step === block.number));
  const generated = reported
    .filter(({ value }) => value.type === 'GenerationReported')
    .reduce((sum, { value }) => sum + value.value.energy, 0n);
  const summary = await api.apis.EnergyApi.step_summary(block.number, { at: block.hash });
  assert.equal(summary.generated, generated);
});

await check('an unregistered account is refused', async () => {
  const call = api.tx.System.remark({ remark: new Uint8Array([1]) });
  const error = await call.signAndSubmit(signerOf(stranger)).then(
    () => assert.fail('it was taken'),
    (error) => error,
  );
  assert.match(`${error.message} ${JSON.stringify(error.error)}`, /Invalid|not registered/, String(error));
});

await check('a call that fails in its block is decoded by name', async () => {
  const call = api.tx.Registry.register_member({ who: stranger.address });
  const result = await call.signAndSubmit(signerOf(charlie));
  assert.equal(result.ok, false);
  assert.equal(result.dispatchError.type, 'BadOrigin');
  const report = { step: 1, reading: { type: 'EnergyAdded', value: 1n } };
  const failed = await api.tx.EnergyToken.report({ sequence: 1n, report }).signAndSubmit(signerOf(charlie));
  assert.equal(failed.ok, false);
  const { type, value } = failed.dispatchError;
  assert.deepEqual([type, value.type, value.value.type], ['Module', 'EnergyToken', 'NotACryptometer']);
});

await check('it stayed connected', async () => {
  assert.equal(states.filter((state) => state === WsEvent.CONNECTED).length, 1, states.join());
  assert.equal(client.getStatus().type, WsEvent.CONNECTED);
});

client.destroy();
finish();

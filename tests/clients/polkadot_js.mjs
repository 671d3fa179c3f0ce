// What @polkadot/api does with a development node.
//
//     node polkadot_js.mjs ws://127.0.0.1:PORT

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { decode_proof as decodeProof, initSync } from '@acala-network/chopsticks-executor';
import { ApiPromise, WsProvider } from '@polkadot/api';
import { Keyring } from '@polkadot/keyring';
import { hexToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { blake2AsHex, cryptoWaitReady, encodeAddress } from '@polkadot/util-crypto';
import { check, finish, nodeUrl } from './checks.mjs';
import { finalized, find, refusal } from './transactions.mjs';

const url = nodeUrl();
const COINS = 1_000_000_000_000n;
const METERS = 57;
const HEADS = 3;
/** Enough for the call to be in a block, and final, before the step's reading could be in the next block. */
const STEPS_AHEAD = 5;

await cryptoWaitReady();
const ed25519 = new Keyring({ type: 'ed25519' });
const sr25519 = new Keyring({ type: 'sr25519' });
const dso = ed25519.addFromUri('//Dso');
const bob = ed25519.addFromUri('//Bob');
const charlie = ed25519.addFromUri('//Charlie');
const dave = sr25519.addFromUri('//Dave');
const eve = sr25519.addFromUri('//Eve');
const stranger = sr25519.addFromUri('//Stranger');

const reconnects = [];
const provider = new WsProvider(url);
const api = await check('it connects', async () => {
  const api = await ApiPromise.create({ provider, throwOnConnect: true, noInitWarn: true });
  assert.equal((await api.rpc.system.chain()).toString(), 'Commonwatt Development');
  assert.equal((await api.rpc.system.name()).toString(), 'commonwatt');
  assert.equal((await api.rpc.system.chainType()).type, 'Development');
  assert.equal(api.genesisHash.toHex(), (await api.rpc.chain.getBlockHash(0)).toHex());
  assert.equal(api.registry.chainSS58, 42);
  assert.deepEqual(api.registry.chainTokens.length, 1);
  assert.equal(api.runtimeVersion.specName.toString(), 'commonwatt');
  return api;
});
if (!api) {
  finish();
}
provider.on('disconnected', () => reconnects.push(new Date()));

await check('it reads the metadata', async () => {
  for (const pallet of ['registry', 'energyToken', 'virtualMeter', 'marketStep', 'balances']) {
    assert.ok(api.query[pallet], `no storage of ${pallet}`);
  }
  const names = [
    'CheckNonZeroSender',
    'CheckSpecVersion',
    'CheckTxVersion',
    'CheckGenesis',
    'CheckMortality',
    'CheckNonce',
    'CheckWeight',
    'ChargeTransactionPayment',
  ];
  assert.deepEqual(api.registry.signedExtensions, names);
  const versions = await api.call.metadata.metadataVersions();
  assert.deepEqual(
    versions.toJSON().filter((version) => [14, 15].includes(version)),
    [14, 15],
  );
  const methods = (await api.rpc.rpc.methods()).methods.map(String);
  assert.ok(methods.includes('energy_trace') && methods.includes('chain_subscribeNewHead'), methods.join());
  // Its constants give the expected time between blocks.
  assert.equal(api.consts.timestamp.minimumPeriod.toNumber() * 2, await stepMs());
});

/** The length of a step as the chain tells it. */
async function stepMs() {
  const timing = await api.query.marketStep.timing();
  return timing.unwrap().stepMs.toNumber();
}

await check('it reads values', async () => {
  const account = await api.query.system.account(bob.address);
  assert.equal(account.data.free.toBigInt(), COINS);
  const many = await api.query.system.account.multi([charlie.address, stranger.address]);
  assert.deepEqual(many.map(({ data }) => data.free.toBigInt()), [COINS, 0n]);
  const both = await api.queryMulti([api.query.system.number, [api.query.registry.roles, dso.address]]);
  assert.ok(both[0].toNumber() >= 0);
  assert.equal(both[1].unwrap().type, 'Dso');
  assert.ok((await api.query.registry.roles(stranger.address)).isNone);
  assert.equal((await api.query.system.account.size(bob.address)).toNumber(), account.encodedLength);
});

await check('it reads maps, whole and by pages, now and at a block', async () => {
  const meters = await api.query.registry.meters.entries();
  assert.equal(meters.length, METERS);
  const numbers = meters.map(([key]) => key.args[0].toNumber()).sort((one, other) => one - other);
  assert.deepEqual(numbers, [...Array(METERS).keys()]);
  const kinds = new Set(meters.map(([, info]) => info.unwrap().kind.type));
  assert.deepEqual([...kinds].sort(), ['Consumption', 'Generation']);

  const pageSize = 20;
  const paged = [];
  let page;
  do {
    const startKey = paged.at(-1);
    page = await api.query.registry.meters.keysPaged({ args: [], pageSize, startKey });
    assert.ok(page.length <= pageSize);
    paged.push(...page);
  } while (page.length === pageSize);
  const hex = (keys) => keys.map((key) => key.toHex()).sort();
  assert.deepEqual(hex(paged), hex(meters.map(([key]) => key)));

  const before = await api.at(api.genesisHash);
  assert.equal((await before.query.system.account(bob.address)).data.free.toBigInt(), COINS);
  assert.equal((await before.query.energyToken.readings.entries()).length, 0);
});

await check('it follows heads, which it hashes again', async () => {
  for (const subscribe of [api.rpc.chain.subscribeNewHeads, api.rpc.chain.subscribeFinalizedHeads]) {
    const heads = await collect(HEADS, subscribe);
    for (const [index, head] of heads.entries()) {
      assert.equal(head.hash.toHex(), (await api.rpc.chain.getBlockHash(head.number.unwrap())).toHex());
      if (index > 0) {
        assert.equal(head.parentHash.toHex(), heads[index - 1].hash.toHex());
        assert.equal(head.number.toNumber(), heads[index - 1].number.toNumber() + 1);
      }
    }
  }
});

/** The next messages of a subscription, which then ends. */
async function collect(count, subscribe) {
  const items = [];
  let unsubscribe;
  await new Promise((resolve, reject) => {
    subscribe((item) => {
      items.push(item);
      if (items.length === count) {
        resolve();
      }
    }).then((end) => (unsubscribe = end), reject);
  });
  unsubscribe();
  return items.slice(0, count);
}

await check('it follows values', async () => {
  const times = await collect(HEADS, (tell) => api.query.timestamp.now(tell));
  const step = await stepMs();
  for (let index = 1; index < times.length; index += 1) {
    assert.equal(times[index].toNumber() - times[index - 1].toNumber(), step, 'one step between two blocks');
  }
});

await check('it hears of a balance that changes', async () => {
  const begun = new Promise((resolve, reject) => {
    const balances = [];
    api.query.system
      .account(eve.address, ({ data }) => {
        balances.push(data.free.toBigInt());
        if (balances.length === 2) {
          resolve(balances);
        }
      })
      .catch(reject);
  });
  await finalized(api.tx.balances.transferKeepAlive(eve.address, 77), bob);
  const [before, after] = await begun;
  assert.equal(after - before, 77n);
});

const free = async (who, at = api) => (await at.query.system.account(who)).data.free.toBigInt();

for (const [kind, from, to] of [
  ['ed25519', bob, charlie],
  ['sr25519', dave, eve],
]) {
  await check(`a transfer signed with ${kind} becomes final`, async () => {
    const amount = 1_234_567n;
    const [had, got] = [await free(from.address), await free(to.address)];
    const { statuses, events, block, txHash } = await finalized(
      api.tx.balances.transferKeepAlive(to.address, amount),
      from,
    );
    // In a block and final come at the same moment, and then the library tells of the last only.
    assert.deepEqual([statuses[0], statuses.at(-1)], ['Ready', 'Finalized']);
    assert.ok(find(events, 'system', 'ExtrinsicSuccess'));
    assert.equal(find(events, 'transactionPayment', 'TransactionFeePaid'), undefined, 'free within the quota');
    const transfer = find(events, 'balances', 'Transfer').data;
    assert.deepEqual(
      [transfer.from.toString(), transfer.to.toString(), transfer.amount.toBigInt()],
      [from.address, to.address, amount],
    );
    const at = await api.at(block);
    assert.equal(await free(from.address, at), had - amount);
    assert.equal(await free(to.address, at), got + amount);
    const { extrinsics } = (await api.rpc.chain.getBlock(block)).block;
    const found = extrinsics.find((extrinsic) => extrinsic.hash.eq(txHash));
    assert.equal(found.signer.toString(), from.address);
    assert.ok(found.signature.length === 64 && found.era.isMortalEra);
  });
}

await check('it tells the fee, which is charged when something beyond the quota is asked for', async () => {
  const call = api.tx.balances.transferKeepAlive(charlie.address, 5);
  const tip = 1_000n;
  const info = await call.paymentInfo(bob);
  assert.ok(info.partialFee.toBigInt() > 0n && info.weight.refTime.toBigInt() > 0n);
  const had = await free(bob.address);
  const { events, block, result } = await finalized(call, bob, { tip });
  const paid = find(events, 'transactionPayment', 'TransactionFeePaid').data;
  assert.equal(paid.tip.toBigInt(), tip);
  assert.equal(await free(bob.address, await api.at(block)), had - 5n - paid.actualFee.toBigInt());

  // The node's estimate for the very bytes that were signed is what was charged.
  const { extrinsics } = (await api.rpc.chain.getBlock(block)).block;
  const signed = extrinsics[result.txIndex].toHex();
  const told = await api.call.transactionPaymentApi.queryInfo(hexToU8a(signed), hexToU8a(signed).length);
  const { inclusionFee } = await api.rpc.payment.queryFeeDetails(signed);
  const parts = inclusionFee.unwrap();
  // Over JSON-RPC the weight has two parts, for which the library's own `queryInfo` is too old.
  const asked = await provider.send('payment_queryInfo', [signed]);
  assert.equal(BigInt(asked.partialFee), told.partialFee.toBigInt());
  assert.equal(BigInt(asked.weight.ref_time), told.weight.refTime.toBigInt());
  assert.equal(paid.actualFee.toBigInt() - tip, told.partialFee.toBigInt());
  assert.equal(
    parts.baseFee.toBigInt() + parts.lenFee.toBigInt() + parts.adjustedWeightFee.toBigInt(),
    told.partialFee.toBigInt(),
  );
});

await check("every cryptometer's report is decoded from the events of a block", async () => {
  // The second head is a block that is made while we watch, with all meters connected.
  const head = (await collect(2, api.rpc.chain.subscribeNewHeads)).at(-1);
  const step = head.number.toNumber();
  const at = await api.at(head.hash);
  const reported = (await at.query.system.events())
    .map(({ event }) => event)
    .filter(({ section, method }) => section === 'energyToken' && method.endsWith('Reported'));
  assert.equal(reported.length, METERS);
  for (const { method, data } of reported) {
    const info = (await at.query.registry.meters(data.meter)).unwrap();
    assert.equal(method, `${info.kind.type}Reported`);
    assert.equal(data.step.toNumber(), step);
    assert.equal((await at.query.registry.deviceOf(data.meter)).unwrap().toString(), data.device.toString());
  }
  const sum = (method) =>
    reported
      .filter((event) => event.method === method)
      .reduce((total, { data }) => total + data.energy.toNumber(), 0);
  const summary = await provider.send('energy_stepSummary', [step]);
  assert.equal(summary.generated, sum('GenerationReported'));
  assert.equal(summary.consumption, sum('ConsumptionReported'));
  const one = reported[0].data;
  const reading = await provider.send('energy_reading', [one.meter.toNumber(), step]);
  assert.equal(reading.energy, one.energy.toNumber());
});

await check('a meter that the DSO puts into service reports with a device of its own', async () => {
  const device = sr25519.addFromUri('//clients//polkadot-js//device');
  const energy = 321;
  const commissioned = (await api.query.system.number()).toNumber() + STEPS_AHEAD;
  const info = {
    kind: 'Generation',
    owner: bob.address,
    beneficiary: bob.address,
    class: 'B',
    pulsesPerKwh: 1_000,
    capacityW: 10_000,
    loss: 0,
    efficiency: 10_000,
    storagePair: null,
    commissioned,
    retired: null,
  };
  const { events } = await finalized(api.tx.registry.commissionMeter(info, device.address), dso);
  const added = find(events, 'registry', 'MeterCommissioned').data;
  const report = { step: commissioned, reading: { Interval: { energy, version: 1, quality: 'Measured' } } };
  // Its step has not closed: the reading waits in the pool for the block it belongs to.
  const reported = await finalized(api.tx.energyToken.report(1, report), device);
  const event = find(reported.events, 'energyToken', 'GenerationReported').data;
  assert.deepEqual(
    [event.meter.toNumber(), event.device.toString(), event.step.toNumber(), event.sequence.toNumber(), event.energy.toNumber()],
    [added.meter.toNumber(), device.address, commissioned, 1, energy],
  );
  assert.equal(reported.statuses[0], 'Future');
  const header = await api.rpc.chain.getHeader(reported.block);
  assert.equal(header.number.toNumber(), commissioned, 'block s carries the readings of step s');
});

await check('an unregistered account is refused with the reason and the mend', async () => {
  const error = await refusal(api.tx.system.remark('0x00').signAndSend(stranger));
  assert.equal(error.code, 1010);
  assert.match(error.data, /account not registered: ask the DSO/);
  const watched = await refusal(api.tx.system.remark('0x01').signAndSend(stranger, () => {}));
  assert.equal(watched.code, 1010);
});

await check('a used nonce is refused, and both nonces are named', async () => {
  const { nonce } = await api.query.system.account(bob.address);
  assert.ok(nonce.toNumber() > 0);
  const error = await refusal(api.tx.system.remark('0x02').signAndSend(bob, { nonce: 0 }));
  assert.equal(error.code, 1010);
  assert.match(error.data, new RegExp(`nonce 0, expected ${nonce}`));
});

await check('a forged signature is refused', async () => {
  const signed = await api.tx.system.remark('0x03').signAsync(bob);
  const bytes = signed.toU8a();
  bytes[50] ^= 1;
  const error = await refusal(provider.send('author_submitExtrinsic', [u8aToHex(bytes)]));
  assert.equal(error.code, 1010);
  assert.match(error.data, /signature/);
});

await check('a call that fails in its block is decoded by name', async () => {
  const report = { step: 1, reading: { EnergyAdded: 1 } };
  const notDevice = await finalized(api.tx.energyToken.report(1, report), charlie);
  assert.ok(notDevice.dispatchError.isModule);
  const { section, name, docs } = api.registry.findMetaError(notDevice.dispatchError.asModule);
  assert.equal(`${section}.${name}`, 'energyToken.NotACryptometer');
  assert.match(docs.join(' '), /not as a cryptometer/);
  assert.ok(find(notDevice.events, 'system', 'ExtrinsicFailed'));

  const tooMuch = await finalized(api.tx.balances.transferKeepAlive(dave.address, 10n * COINS), charlie);
  assert.ok(tooMuch.dispatchError.isToken);
  assert.equal(tooMuch.dispatchError.asToken.type, 'FundsUnavailable');

  const notDso = await finalized(api.tx.registry.registerMember(stranger.address), charlie);
  assert.ok(notDso.dispatchError.isBadOrigin);
});

await check('a batch is all or nothing', async () => {
  const batch = api.tx.utility.batchAll([
    api.tx.system.remark('0x04'),
    api.tx.registry.registerMember(stranger.address),
  ]);
  const { dispatchError, events } = await finalized(batch, charlie);
  assert.ok(dispatchError.isBadOrigin);
  assert.equal(find(events, 'utility', 'BatchCompleted'), undefined);
});

await check("a read proof is checked by a light client's library", async () => {
  const wasm = new URL('chopsticks_executor_bg.wasm', import.meta.resolve('@acala-network/chopsticks-executor'));
  initSync({ module: readFileSync(wasm) });
  const header = await api.rpc.chain.getFinalizedHead().then((hash) => api.rpc.chain.getHeader(hash));
  const step = header.number.toNumber();
  const at = await api.at(header.hash);
  const keys = [
    at.query.system.account.key(bob.address),
    at.query.virtualMeter.stepSummaries.key(step),
    // A long value, which the trie keeps apart, and one that is not there.
    at.query.virtualMeter.agreements.key(1),
    at.query.system.account.key(stranger.address),
  ];
  const { at: block, proof } = await api.rpc.state.getReadProof(keys, header.hash);
  assert.equal(block.toHex(), header.hash.toHex());
  const nodes = proof.map((node) => node.toHex());
  const root = header.stateRoot.toHex();
  const proven = new Map(await decodeProof(root, nodes));
  for (const key of keys.slice(0, 3)) {
    const value = await provider.send('state_getStorage', [key, header.hash.toHex()]);
    assert.ok(value && value.length > 2, `${key} is there`);
    assert.equal(proven.get(key), value);
  }
  assert.ok(!proven.has(keys[3]));
  // The account in the proof is the account that was asked for.
  const account = api.registry.createType('FrameSystemAccountInfo', hexToU8a(proven.get(keys[0])));
  assert.equal(account.data.free.toBigInt(), await free(bob.address, at));

  // Neither another root nor a changed node passes.
  const otherRoot = (await api.rpc.chain.getHeader(header.parentHash)).stateRoot.toHex();
  const underOther = await Promise.resolve(decodeProof(otherRoot, nodes)).catch(() => []);
  assert.equal(new Map(underOther).get(keys[1]), undefined, 'a proof counts under its own root only');
  const longest = nodes.reduce((one, other) => (one.length >= other.length ? one : other));
  const forged = nodes.map((node) =>
    node === longest ? node.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')) : node,
  );
  const believed = await Promise.resolve(decodeProof(root, forged)).catch(() => []);
  assert.ok(new Map(believed).size < proven.size, 'a changed node proves nothing');
});

await check('a block and its extrinsics hash to what the node says', async () => {
  const { block } = await api.rpc.chain.getBlock();
  const said = await api.rpc.chain.getBlockHash(block.header.number.unwrap());
  assert.equal(blake2AsHex(block.header.toU8a()), said.toHex());
  // What the library decodes and encodes again is what the node sent.
  const raw = await provider.send('chain_getBlock', [said.toHex()]);
  assert.deepEqual(block.extrinsics.map((extrinsic) => extrinsic.toHex()), raw.block.extrinsics);
});

await check('what does not exist is refused, and the connection lives on', async () => {
  const unknown = await refusal(provider.send('energy_nothing', []));
  assert.equal(unknown.code, -32601);
  const wrong = await refusal(provider.send('energy_trace', ['x', 1]));
  assert.equal(wrong.code, -32602);
  const address = encodeAddress(u8aConcat(bob.publicKey), 42);
  assert.equal((await api.rpc.system.accountNextIndex(address)).toNumber() > 0, true);
  assert.deepEqual(reconnects, [], 'no reconnect in all this time');
});

await api.disconnect();
finish();

// What @polkadot/api does with the market of a development node, whose members do not trade by themselves.
//
//     node polkadot_js_market.mjs ws://127.0.0.1:PORT

import assert from 'node:assert/strict';
import { ApiPromise, WsProvider } from '@polkadot/api';
import { Keyring } from '@polkadot/keyring';
import { cryptoWaitReady } from '@polkadot/util-crypto';
import { check, finish, nodeUrl } from './checks.mjs';
import { finalized, find, refusal } from './transactions.mjs';

const url = nodeUrl();
/** Enough for a transaction to be in a block before its step's gate closes. */
const STEPS_AHEAD = 6;
const UNITS = 100;
const LIMIT_MAX = 2n ** 64n - 1n;

await cryptoWaitReady();
const ed25519 = new Keyring({ type: 'ed25519' });
const sr25519 = new Keyring({ type: 'sr25519' });
const dso = ed25519.addFromUri('//Dso');
const bob = ed25519.addFromUri('//Bob');
const charlie = ed25519.addFromUri('//Charlie');
const dave = sr25519.addFromUri('//Dave');
const eve = sr25519.addFromUri('//Eve');
const stranger = sr25519.addFromUri('//Stranger');
/** A household with a share in what is generated. */
const household = ed25519.addFromUri('//member//p01');

const provider = new WsProvider(url);
const api = await check('it connects', () => ApiPromise.create({ provider, throwOnConnect: true, noInitWarn: true }));
if (!api) {
  finish();
}
const ask = (method, ...parameters) => provider.send(method, parameters);
const { place, cancel, replace } = api.tx.doubleAuction;

/** The terms of an order for a step, or of a standing one. */
function terms(side, step, limit, units, more = {}) {
  const when = step === null ? { Standing: { until: null } } : { Once: step };
  return { side, limit, units, unit: 10, when, cap: 'Quantity', ...more };
}

/** The first step that an order in the next block can be for. */
const nextStep = async () => (await ask('market_rules')).nextStep;

/** The id that a call takes, of an order that it is told as text. */
function idOf(text) {
  const [step, number] = text.split('-');
  return { step: step === 'standing' ? 0 : Number(step), number: Number(number) };
}

/** Places an order and returns its id as text. */
async function placed(order, signer) {
  const { events, dispatchError } = await finalized(place(order), signer);
  assert.equal(dispatchError, undefined);
  const { who, id } = find(events, 'doubleAuction', 'OrderPlaced').data;
  assert.equal(who.toString(), signer.address);
  return id.step.toNumber() === 0 ? `standing-${id.number}` : `${id.step}-${id.number}`;
}

/** Subscribes; `until` returns the first message, of those that came and will come, that is looked for. */
async function follow(type, method, parameters) {
  const messages = [];
  let wake = () => {};
  await provider.subscribe(type, method, parameters, (error, message) => {
    messages.push(error ? { error } : message);
    wake();
  });
  return {
    async until(isWanted) {
      for (;;) {
        const found = messages.find(isWanted);
        if (found) {
          return found;
        }
        await new Promise((resolve) => (wake = resolve));
      }
    },
  };
}

await check('it knows the market by its metadata and its rules', async () => {
  const rules = await ask('market_rules');
  assert.equal(rules.unit, (await api.query.doubleAuction.unit()).toNumber());
  assert.equal(rules.ordersMax, api.consts.doubleAuction.maxOrders.toNumber());
  assert.equal(rules.standingMax, api.consts.doubleAuction.maxStanding.toNumber());
  assert.deepEqual(rules.mechanisms, [{ fromStep: 1, mechanism: { name: 'average' } }]);
  assert.deepEqual(rules.tariffs, [{ fromStep: 1, buy: '9', feedIn: '2' }]);
  const { methods } = await ask('rpc_methods');
  for (const method of ['market_orderBook', 'market_subscribeFills', 'loyalty_get', 'grid_statement']) {
    assert.ok(methods.includes(method), method);
  }
});

await check('an order is placed, seen, replaced and cancelled, and its coins come back', async () => {
  const step = (await nextStep()) + 20;
  const held = async () => {
    const orders = await ask('market_orders', charlie.address);
    const [hold] = await api.query.balances.holds(charlie.address);
    assert.equal(hold?.amount.toString() ?? '0', orders.held);
    return [orders.held, orders.open.map((order) => order.id)];
  };
  const id = await placed(terms('Buy', step, 7, UNITS), charlie);
  assert.deepEqual(await held(), ['700', [id]]);
  const book = await ask('market_orderBook', step);
  const own = book.orders.find((order) => order.owner === charlie.address);
  const { arrival, ...rest } = own;
  assert.ok(arrival > 0);
  assert.deepEqual(rest, {
    id, step, owner: charlie.address, side: 'buy', limit: '7', units: UNITS, cap: 'quantity', status: 'open', offered: 0,
    traded: 0, coins: '0', withdrawn: null,
  });

  const { events } = await finalized(replace(idOf(id), 8, 50), charlie);
  const [, old, changed] = find(events, 'doubleAuction', 'OrderReplaced').data;
  assert.deepEqual(idOf(id), old.toJSON());
  const second = `${changed.step}-${changed.number}`;
  assert.deepEqual(await held(), ['400', [second]]);

  await finalized(cancel(idOf(second)), charlie);
  assert.deepEqual(await held(), ['0', []]);
});

/** What the trade left, for the checks after it. */
const traded = await check('an order is filled, and energy and coins move', async () => {
  const clearings = await follow('market_clearing', 'market_subscribeClearings', []);
  const ofBob = await follow('market_fill', 'market_subscribeFills', [bob.address]);
  const ofHousehold = await follow('market_fill', 'market_subscribeFills', [household.address]);
  // A generator that makes sure that the household has something left to sell.
  const step = (await api.query.system.number()).toNumber() + STEPS_AHEAD;
  const device = sr25519.addFromUri('//clients//polkadot-js-market//device');
  const info = {
    kind: 'Generation', owner: bob.address, beneficiary: bob.address, class: 'B', pulsesPerKwh: 1_000,
    capacityW: 100_000_000, loss: 0, efficiency: 10_000, storagePair: null, commissioned: step, retired: null,
  };
  const had = (await api.query.system.account(bob.address)).data.free.toBigInt();
  const [, bought, sold] = await Promise.all([
    finalized(api.tx.registry.commissionMeter(info, device.address), dso),
    placed(terms('Buy', step, 50, UNITS), bob),
    placed(terms('Sell', step, 1, UNITS), household),
  ]);
  const report = { step, reading: { Interval: { energy: 1_000_000, version: 1, quality: 'Measured' } } };
  await finalized(api.tx.energyToken.report(1, report), device);

  const fill = await ofBob.until((fill) => fill.step === step);
  assert.deepEqual([fill.state, fill.bought, fill.sold, fill.received], ['cleared', UNITS, 0, '0']);
  assert.deepEqual(fill.orders.map(({ id, traded, coins }) => [id, traded, coins]), [[bought, UNITS, fill.paid]]);
  const paid = BigInt(fill.paid);
  assert.ok(paid >= BigInt(UNITS) && paid <= 50n * BigInt(UNITS), fill.paid);
  const earned = await ofHousehold.until((fill) => fill.step === step);
  assert.deepEqual([earned.sold, earned.received, earned.orders[0].id], [UNITS, fill.paid, sold]);

  const news = await clearings.until((news) => news.step === step);
  const clearing = await ask('market_clearing', step);
  assert.equal(news.block, (await api.rpc.chain.getBlockHash(step)).toHex());
  for (const name of ['state', 'k', 'price', 'volumeUnits', 'turnover']) {
    assert.equal(news[name], clearing[name], name);
  }
  assert.equal(BigInt(clearing.price) * BigInt(UNITS), paid);
  const trade = clearing.trades.items.find((trade) => trade.buyOrder === bought);
  assert.deepEqual([trade.buyer, trade.seller, trade.sellOrder], [bob.address, household.address, sold]);

  // The coins are gone, the energy is there, and it is traced to its meters.
  const at = await api.at(await api.rpc.chain.getBlockHash(step));
  const account = await at.query.system.account(bob.address);
  assert.equal(had - account.data.free.toBigInt(), paid);
  assert.deepEqual((await at.query.balances.holds(bob.address)).toJSON(), []);
  const event = (await at.query.system.events())
    .map(({ event }) => event)
    .find(({ method, data }) => method === 'MemberTraded' && data.who.toString() === bob.address);
  assert.deepEqual([event.data.bought.toNumber(), event.data.paid.toBigInt()], [10 * UNITS, paid]);
  const trace = await ask('energy_trace', step, bob.address);
  assert.equal(trace.bought, 10 * UNITS);
  assert.equal(trace.boughtFrom.reduce((sum, { energy }) => sum + energy, 0), 10 * UNITS);
  return { step, bought };
});

await check('what proves the clearing is counted again', async () => {
  const { step } = traded;
  const clearing = await ask('market_clearing', step);
  const orders = [];
  for (let start = 0; start !== null; ) {
    const page = (await ask('market_clearing', step, start, 1)).orders;
    orders.push(...page.items);
    start = page.next;
  }
  assert.deepEqual(orders, clearing.orders.items);
  const { proof } = clearing;
  const count = (side, isWanted) =>
    orders
      .filter((order) => order.side === side && isWanted(BigInt(order.limit)))
      .reduce((sum, { units }) => sum + units, 0);
  const [bid, ask_] = [BigInt(proof.bid), BigInt(proof.ask)];
  assert.equal(count('buy', (limit) => limit > bid), proof.demandAbove);
  assert.equal(count('buy', (limit) => limit >= bid), proof.demandAtLeast);
  assert.equal(count('sell', (limit) => limit < ask_), proof.supplyBelow);
  assert.equal(count('sell', (limit) => limit <= ask_), proof.supplyAtMost);
  assert.ok(proof.demandAbove < proof.k && proof.k <= proof.demandAtLeast);
  assert.ok(proof.supplyBelow < proof.k && proof.k <= proof.supplyAtMost);
  assert.equal((bid + ask_) / 2n, BigInt(clearing.price));
  const { items } = clearing.trades;
  assert.equal(items.reduce((sum, { units }) => sum + units, 0), clearing.volumeUnits);
  for (const trade of items) {
    assert.equal(orders[trade.buyAt].id, trade.buyOrder);
    assert.equal(orders[trade.sellAt].id, trade.sellOrder);
    assert.ok(BigInt(orders[trade.buyAt].limit) >= BigInt(trade.price));
    assert.ok(BigInt(orders[trade.sellAt].limit) <= BigInt(trade.price));
  }
});

await check('loyalty, the history and what the outer grid owes follow', async () => {
  const { step } = traded;
  const { loyalty, millionths } = await ask('loyalty_get', bob.address);
  assert.ok(millionths > 1_000_000, loyalty);
  assert.match(loyalty, /^1\.\d{6}$/);
  const history = await ask('market_history');
  assert.equal(history.find((entry) => entry.step === step).state, 'cleared');
  const { entries } = await ask('energy_member', household.address, step + 1, 1);
  const statement = await ask('grid_statement', household.address, step, step);
  // It has energy left over, which is fed in.
  assert.equal(statement.total.fedInWh, -entries[0].marketFaceWh);
  assert.equal(BigInt(statement.total.owed), -BigInt(statement.total.credited));
  assert.equal(statement.lines[0].feedIn, '2');
  const refused = await refusal(ask('grid_statement', household.address, step, step - 1));
  assert.equal(refused.code, -32602);
});

await check('a standing order is in every book until it is cancelled', async () => {
  const fills = await follow('market_fill', 'market_subscribeFills', [eve.address]);
  const id = await placed(terms('Buy', null, 1, 3), eve);
  const first = await fills.until((fill) => fill.orders.some((order) => order.id === id));
  const second = await fills.until((fill) => fill.step === first.step + 1);
  assert.equal(second.orders[0].id, id);
  const { standing } = await ask('market_orders', eve.address);
  assert.deepEqual(standing.map((order) => [order.id, order.limit, order.until]), [[id, '1', null]]);
  await finalized(cancel(idOf(id)), eve);
  assert.deepEqual((await ask('market_orders', eve.address)).standing, []);
});

await check('a wrong order is refused at once, with the reason and the mend', async () => {
  const open = await placed(terms('Buy', (await nextStep()) + 40, 3, 1), charlie);
  const step = (await nextStep()) + 10;
  const now = (await api.query.system.number()).toNumber();
  const cases = [
    ['no coins', place(terms('Buy', step, 1_000_000_000_000n, 2)), dave, /DoubleAuction\.NotEnoughCoins: .*are free\./],
    ['coins beyond all', place(terms('Buy', step, LIMIT_MAX, 2 ** 32 - 1)), dave, /DoubleAuction\.NotEnoughCoins: /],
    ['another unit', place(terms('Buy', step, 1, 1, { unit: 100 })), dave, /DoubleAuction\.WrongUnit: .*The unit is 10 Wh\./],
    ['after the gate', place(terms('Sell', now, 1, 1)), dave, /DoubleAuction\.GateClosed: .*takes orders for steps \d+ to \d+\./],
    ['too far ahead', place(terms('Sell', now + 200, 1, 1)), dave, /DoubleAuction\.TooFarAhead: /],
    ['no member', place(terms('Sell', step, 1, 1)), dso, /DoubleAuction\.NotAMember: .*ask the DSO/],
    ['not registered', place(terms('Sell', step, 1, 1)), stranger, /account not registered: ask the DSO/],
    ['no units', place(terms('Buy', step, 1, 0)), dave, /DoubleAuction\.NothingOrdered: /],
    ['no limit', place(terms('Buy', step, 0, 1)), dave, /DoubleAuction\.LimitIsZero: /],
    ['too high a limit', place(terms('Sell', step, LIMIT_MAX + 1n, 1)), dave, /DoubleAuction\.LimitTooHigh: /],
    ['a need to sell', place(terms('Sell', step, 1, 1, { cap: 'Need' })), dave, /DoubleAuction\.CapOnSale: /],
    ["another's order", cancel(idOf(open)), dave, /DoubleAuction\.NotYourOrder: /],
    ["another's order changed", replace(idOf(open), 9, 9), dave, /DoubleAuction\.NotYourOrder: /],
    ['no such order', cancel({ step, number: 4_000_000 }), dave, /DoubleAuction\.UnknownOrder: /],
    ['cancelled after the gate', cancel(idOf(traded.bought)), bob, /DoubleAuction\.GateClosed: /],
    ['the same twice', place(terms('Buy', idOf(open).step, 3, 9)), charlie, /DoubleAuction\.DuplicateOrder: /],
  ];
  for (const [name, call, signer, reason] of cases) {
    const error = await refusal(call.signAndSend(signer));
    assert.equal(error.code, 1010, name);
    assert.match(error.data, reason, name);
  }
  // Who watches hears the same, and nothing was included.
  const watched = await refusal(place(terms('Buy', step, 1, 0, { side: 'Sell' })).signAndSend(dave, () => {}));
  assert.equal(watched.code, 1010);
  assert.match(watched.data, /DoubleAuction\.NothingOrdered/);
  assert.deepEqual((await ask('market_orders', dave.address)).open, []);
  await finalized(cancel(idOf(open)), charlie);
});

await check('a wrong order in a batch fails in its block, and is decoded by name', async () => {
  const step = (await nextStep()) + 10;
  const batch = api.tx.utility.batchAll([place(terms('Buy', step, 1, 1, { unit: 7 }))]);
  const { dispatchError } = await finalized(batch, dave);
  const { section, name, docs } = api.registry.findMetaError(dispatchError.asModule);
  assert.equal(`${section}.${name}`, 'doubleAuction.WrongUnit');
  assert.match(docs.join(' '), /convert quantity and limit/);
});

await api.disconnect();
finish();

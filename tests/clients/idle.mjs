// Clients that hear of no block for more than five minutes: the chain has long steps.
//
//     node idle.mjs ws://127.0.0.1:PORT

import assert from 'node:assert/strict';
import { ApiPromise, WsProvider } from '@polkadot/api';
import { createWsClient, WsEvent } from 'polkadot-api/ws';
import { WebSocket } from 'ws';
import { check, finish, nodeUrl } from './checks.mjs';

const url = nodeUrl();
const IDLE_MS = 300_000;
/** More than the step, which the driver chose to be some seconds longer than the idle time. */
const PATIENCE_MS = 420_000;
/** In a browser polkadot-api gives a node up after 40 s without a message; it sees no pings there. */
const SILENCE_MAX_MS = 40_000;

/** Resolves with the time between the first message and the first new block. */
function firstBlock(subscribe) {
  return new Promise((resolve, reject) => {
    let began;
    const tell = (number) => {
      began ??= { at: Date.now(), number };
      if (number > began.number) {
        resolve({ waited: Date.now() - began.at, number });
      }
    };
    Promise.resolve(subscribe(tell)).catch(reject);
  });
}

const isIdleLongEnough = ({ waited }) => assert.ok(waited >= IDLE_MS, `a block came after ${waited} ms already`);

async function polkadotJs() {
  const provider = new WsProvider(url);
  const api = await ApiPromise.create({ provider, noInitWarn: true });
  const reconnects = [];
  provider.on('disconnected', () => reconnects.push('disconnected'));
  provider.on('connected', () => reconnects.push('connected'));
  provider.on('error', () => reconnects.push('error'));
  const value = firstBlock((tell) => api.query.system.number((number) => tell(number.toNumber())));
  const head = await firstBlock((tell) => api.rpc.chain.subscribeNewHeads((head) => tell(head.number.toNumber())));
  isIdleLongEnough(head);
  assert.equal((await value).number, head.number, 'the value changed with the block');
  assert.deepEqual(reconnects, []);
  assert.ok(provider.isConnected);
  await api.disconnect();
}

async function papi() {
  const states = [];
  const client = createWsClient(url, {
    websocketClass: WebSocket,
    onStatusChanged: ({ type }) => states.push(type),
  });
  const head = await firstBlock((tell) => {
    client.finalizedBlock$.subscribe(({ number }) => tell(number));
  });
  isIdleLongEnough(head);
  assert.deepEqual(
    states.filter((state) => state !== WsEvent.CONNECTING),
    [WsEvent.CONNECTED],
  );
  client.destroy();
}

/** A WebSocket that sends one request and then nothing, and does not see pings. */
async function silent() {
  const socket = new WebSocket(url);
  let heard = Date.now();
  let silence = 0;
  const ended = [];
  socket.on('close', () => ended.push('close'));
  socket.on('error', (error) => ended.push(error));
  const head = await firstBlock((tell) => {
    const request = { jsonrpc: '2.0', id: 1, method: 'chain_subscribeFinalizedHeads', params: [] };
    socket.on('open', () => socket.send(JSON.stringify(request)));
    socket.on('message', (data) => {
      silence = Math.max(silence, Date.now() - heard);
      heard = Date.now();
      const { method, params } = JSON.parse(data);
      if (method === 'chain_finalizedHead') {
        tell(Number(params.result.number));
      }
    });
  });
  isIdleLongEnough(head);
  assert.deepEqual(ended, []);
  assert.ok(silence < SILENCE_MAX_MS, `nothing was heard for ${silence} ms`);
  console.log(`        longest silence ${(silence / 1000).toFixed(1)} s, block after ${(head.waited / 1000).toFixed(0)} s`);
  socket.close();
}

await Promise.all([
  check('@polkadot/api, idle for five minutes, stays connected and is told of the block', polkadotJs, PATIENCE_MS),
  check('polkadot-api, idle for five minutes, stays connected and is told of the block', papi, PATIENCE_MS),
  check('a subscriber that only listens hears something every 40 s, and of the block', silent, PATIENCE_MS),
]);
finish();

// Writes polkadot-js.json: keys and account files as polkadot.js makes them.
//
// usage: npm install @polkadot/keyring@13 @polkadot/util-crypto@13 && node make.mjs > polkadot-js.json

import { Keyring } from '@polkadot/keyring';
import { hexToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { cryptoWaitReady, jsonEncryptFormat, naclEncrypt, scryptEncode, scryptToU8a } from '@polkadot/util-crypto';

await cryptoWaitReady();

const TYPES = ['ed25519', 'sr25519'];
const PHRASE_12 = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const PHRASE_24 = 'letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor '
  + 'acoustic avoid letter advice cage absurd amount doctor acoustic bless';
const SEED = '0x9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';

const URIS = [
  '//Alice', '//Alice//stash', '//0', '//a derivation step of more than thirty-two bytes',
  PHRASE_12, PHRASE_24, `${PHRASE_12}//member//7`, `${PHRASE_12}///secret`, `${PHRASE_24}//vote///pässwörd`,
  SEED, `${SEED}//hard`,
];
const SOFT_URIS = [`${PHRASE_12}/soft`, '//Alice/soft//hard/12', `${PHRASE_12}/member/7///secret`];

function keys (type, uris) {
  const keyring = new Keyring({ type, ss58Format: 42 });
  return uris.map((uri) => {
    const pair = keyring.addFromUri(uri);
    return { uri, scheme: type, public: u8aToHex(pair.publicKey), address: pair.address };
  });
}

function accounts (type) {
  const keyring = new Keyring({ type, ss58Format: 42 });
  return [
    { uri: '//Alice', password: null },
    { uri: '//Alice', password: 'correct horse' },
    { uri: PHRASE_12, password: 'pässwörd' },
    // polkadot.js takes these digits for the three bytes they mean.
    { uri: PHRASE_24, password: '0xC0ffee' },
  ].map(({ password, uri }) => {
    const pair = keyring.addFromUri(uri, { name: 'member 7' });
    return { uri, scheme: type, password, public: u8aToHex(pair.publicKey), account: pair.toJson(password ?? undefined) };
  });
}

// What earlier versions of polkadot.js wrote: cheaper scrypt parameters, and a seed instead of the expanded key.
function earlier (type, params, isSeed) {
  const pair = new Keyring({ type, ss58Format: 42 }).addFromUri(SEED, { name: 'earlier' });
  const plain = isSeed
    ? u8aConcat(pair.encodePkcs8().subarray(0, 16), hexToU8a(SEED), pair.encodePkcs8().subarray(80))
    : pair.encodePkcs8();
  const password = 'earlier';
  const made = scryptEncode(password, undefined, params);
  const { encrypted, nonce } = naclEncrypt(plain, made.password.subarray(0, 32));
  const sealed = u8aConcat(scryptToU8a(made.salt, params), nonce, encrypted);
  const account = { ...jsonEncryptFormat(sealed, ['pkcs8', type], true), address: pair.address, meta: pair.meta };
  return { uri: SEED, scheme: type, password, public: u8aToHex(pair.publicKey), account };
}

console.log(JSON.stringify({
  keys: [...TYPES.flatMap((type) => keys(type, URIS)), ...keys('sr25519', SOFT_URIS)],
  accounts: [
    ...TYPES.flatMap(accounts),
    ...TYPES.map((type) => earlier(type, { N: 1 << 15, p: 1, r: 8 }, true)),
    earlier('sr25519', { N: 1 << 13, p: 10, r: 8 }, false),
  ],
}, null, 2));

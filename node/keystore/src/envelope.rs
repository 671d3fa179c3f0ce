//! Encryption under a password, as polkadot.js does it: scrypt makes the key, XSalsa20-Poly1305 seals.
//!
//! Layout: salt (32) ‖ N (4, little-endian) ‖ p (4) ‖ r (4) ‖ nonce (24) ‖ tag and ciphertext.

use crypto_secretbox::{KeyInit, XSalsa20Poly1305, aead::Aead};
use zeroize::Zeroizing;

use crate::{
    password::Password,
    secret::{EntropyError, fill_random},
};

const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = SALT_BYTES + 3 * 4;
const TAG_BYTES: usize = 16;

/// How much work a password costs: `N = 2^log_n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    log_n: u8,
    p: u32,
    r: u32,
}

/// What new files get: 128 MiB, about half a second.
const COST: Cost = Cost {
    log_n: 17,
    p: 1,
    r: 8,
};

/// What is read: those that polkadot.js has ever written. A file cannot ask for more memory or time than these.
const COSTS: [Cost; 6] = [
    Cost {
        log_n: 13,
        p: 10,
        r: 8,
    },
    Cost {
        log_n: 14,
        p: 5,
        r: 8,
    },
    Cost {
        log_n: 15,
        p: 3,
        r: 8,
    },
    Cost {
        log_n: 15,
        p: 1,
        r: 8,
    },
    Cost {
        log_n: 16,
        p: 2,
        r: 8,
    },
    COST,
];

/// Why an envelope stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    /// It is shorter than its own head.
    TooShort,
    /// Its scrypt parameters are none of those known.
    Cost,
    /// Wrong password, or damage; the two look alike.
    Closed,
}

impl Cost {
    fn from_head(head: &[u8]) -> Option<Self> {
        let word = |place: usize| -> Option<u32> {
            let bytes = head.get(SALT_BYTES + 4 * place..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let (n, p, r) = (word(0)?, word(1)?, word(2)?);
        COSTS
            .into_iter()
            .find(|cost| 1u32 << cost.log_n == n && cost.p == p && cost.r == r)
    }

    fn derive(self, password: &Password, salt: &[u8]) -> XSalsa20Poly1305 {
        let mut key = Zeroizing::new([0; 64]);
        let params = scrypt::Params::new(self.log_n, self.r, self.p, key.len())
            .expect("the parameters are among those listed");
        scrypt::scrypt(&password.key_material(), salt, &params, &mut *key)
            .expect("64 bytes are a length that scrypt can make");
        XSalsa20Poly1305::new_from_slice(&key[..32]).expect("the cipher's key has 32 bytes")
    }
}

/// Encrypts `secret`.
pub(crate) fn seal(secret: &[u8], password: &Password) -> Result<Vec<u8>, EntropyError> {
    let mut envelope = vec![0; HEAD_BYTES + NONCE_BYTES];
    fill_random(&mut envelope)?;
    let words = [1u32 << COST.log_n, COST.p, COST.r];
    for (target, word) in envelope[SALT_BYTES..].chunks_exact_mut(4).zip(words) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    let (head, nonce) = envelope.split_at(HEAD_BYTES);
    let sealed = COST
        .derive(password, &head[..SALT_BYTES])
        .encrypt(nonce.into(), secret)
        .expect("a key is far shorter than what the cipher can seal");
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// Decrypts what [`seal`] or polkadot.js encrypted.
pub(crate) fn open(
    envelope: &[u8],
    password: &Password,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    if envelope.len() < HEAD_BYTES + NONCE_BYTES + TAG_BYTES {
        return Err(EnvelopeError::TooShort);
    }
    let (head, rest) = envelope.split_at(HEAD_BYTES);
    let (nonce, sealed) = rest.split_at(NONCE_BYTES);
    let cost = Cost::from_head(head).ok_or(EnvelopeError::Cost)?;
    cost.derive(password, &head[..SALT_BYTES])
        .decrypt(nonce.into(), sealed)
        .map(Zeroizing::new)
        .map_err(|_| EnvelopeError::Closed)
}

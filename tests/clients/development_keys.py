"""The well-known development keys."""

from hashlib import blake2b

from bip39 import bip39_to_mini_secret
from substrateinterface import Keypair, KeypairType

DEV_PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"


def ed25519(path):
    """A well-known development key; the library derives sr25519 keys only."""
    seed = bytes(bip39_to_mini_secret(DEV_PHRASE, "", "en"))
    for name in path.split("//")[1:]:
        # "Ed25519HDKD" and the name are SCALE strings, which begin with four times their length.
        chain_code = (bytes([len(name) * 4]) + name.encode()).ljust(32, b"\0")
        seed = blake2b(bytes([11 * 4]) + b"Ed25519HDKD" + seed + chain_code, digest_size=32).digest()
    return Keypair.create_from_seed(seed, crypto_type=KeypairType.ED25519)


def sr25519(path):
    return Keypair.create_from_uri(path, crypto_type=KeypairType.SR25519)

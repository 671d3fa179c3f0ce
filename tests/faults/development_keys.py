"""Signs as the accounts of development chains, whose secrets everybody knows: Ed25519 and Substrate's transactions, from their
definitions (RFC 8032; extrinsic version 4). Slow, and not for secrets. Python's standard library only."""

from hashlib import blake2b, sha512

# The seed behind the development phrase.
SEED = bytes.fromhex("fac7959dbfe72f052e5a0c3c8d6530f202b02fd8f9f5ca3580ec8deb7797479e")
P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
# Calls of the registry, by pallet and call.
REGISTER_VALIDATOR, REMOVE_VALIDATOR = bytes([20, 2]), bytes([20, 3])


def recover_x(y):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x % 2 else x


BASE = (recover_x(BASE_Y), BASE_Y, 1, recover_x(BASE_Y) * BASE_Y % P)


def add(one, other):
    a, b = (one[1] - one[0]) * (other[1] - other[0]) % P, (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    product = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            product = add(product, point)
        point = add(point, point)
        scalar >>= 1
    return product


def encode_point(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def digest_number(*parts):
    return int.from_bytes(sha512(b"".join(parts)).digest(), "little")


def compact(number):
    if number < 2**6:
        return bytes([number << 2])
    if number < 2**14:
        return (number << 2 | 1).to_bytes(2, "little")
    return (number << 2 | 2).to_bytes(4, "little")


class Key:
    """An Ed25519 key below the development phrase, like `Key("Alice")`."""

    def __init__(self, *path):
        seed = SEED
        for name in path:
            code = (compact(len(name)) + name.encode()).ljust(32, b"\0")
            seed = blake2b(compact(11) + b"Ed25519HDKD" + seed + code, digest_size=32).digest()
        hashed = sha512(seed).digest()
        self.scalar = int.from_bytes(hashed[:32], "little") & (2**254 - 8) | 2**254
        self.prefix = hashed[32:]
        self.public = encode_point(multiply(self.scalar, BASE))

    def sign(self, message):
        once = digest_number(self.prefix, message) % ORDER
        commitment = encode_point(multiply(once, BASE))
        challenge = digest_number(commitment, self.public, message)
        return commitment + ((once + challenge * self.scalar) % ORDER).to_bytes(32, "little")


def submit(rpc, key, call):
    """Signs a call, which never expires, and hands it to a node; returns the transaction's hash."""
    version = rpc.ask("state_getRuntimeVersion")
    genesis = bytes.fromhex(rpc.ask("chain_getBlockHash", 0)[2:])
    nonce = rpc.ask("system_accountNextIndex", address_of(key.public))
    extension = b"\0" + compact(nonce) + b"\0"
    versions = version["specVersion"].to_bytes(4, "little") + version["transactionVersion"].to_bytes(4, "little")
    payload = call + extension + versions + genesis + genesis
    signed = payload if len(payload) <= 256 else blake2b(payload, digest_size=32).digest()
    body = b"\x84\0" + key.public + b"\0" + key.sign(signed) + extension + call
    return rpc.ask("author_submitExtrinsic", "0x" + (compact(len(body)) + body).hex())


def address_of(public):
    """The SS58 address of an account on this chain."""
    raw = bytes([42]) + public
    number = int.from_bytes(raw + blake2b(b"SS58PRE" + raw).digest()[:2], "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return text

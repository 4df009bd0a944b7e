"""Keys that are the same in every process: the names of parametrized tests must not differ between test processes."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from producers.signing import PrivateKey


def fixed_key(by: str, kid: str = "2026-11", variant: int = 0) -> PrivateKey:
    """The private key of an owner and a key's id; another one for each ``variant``."""
    seed = hashlib.sha256(f"{by}/{kid}/{variant}".encode()).digest()
    return PrivateKey(by, kid, Ed25519PrivateKey.from_private_bytes(seed))

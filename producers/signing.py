"""Ed25519 signatures over JSON objects: of commands, reports, approvals and operators' words.

What is signed is ``<context>`` + a line feed + the object as canonical JSON (RFC 8785). The context, such as
``orders-command-v1``, keeps a signature of one kind from being taken for one of another. The objects hold texts,
integers, booleans, nulls, lists and objects; for these, RFC 8785 is JSON without spaces, with sorted keys and in UTF-8,
which a few lines in any language produce. Numbers with a fraction are refused: amounts are texts.

Needs the package ``cryptography`` (extra ``signing``).
"""

import base64
import binascii
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producers.commands import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "ed25519:"
"""What a key begins with as text; 32 bytes in base64 follow (RFC 8032, section 5.1.5)."""
NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
"""Pattern of the name of a key's owner and of a key's id."""
MAX_INTEGER = 2**53 - 1
"""The largest integer that RFC 8785 writes as its digits in every language."""
MAX_KEY_FILE_BYTES = 4096


class SigningError(Exception):
    """A key cannot be read, or an object cannot be signed; the text says why, and quotes neither."""


class CryptographyMissing(SigningError):
    """The package ``cryptography`` is not installed; the text says how to install it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Verifies signatures."""

    _key: "Ed25519PublicKey" = field(repr=False)

    @classmethod
    def from_text(cls, text: object) -> "PublicKey":
        """The key of ``ed25519:<base64>``.

        Raises:
            SigningError: it is not such a key.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            return cls(Ed25519PublicKey.from_public_bytes(_key_bytes(text)))
        except ValueError as error:
            raise SigningError("it is not a public key of Ed25519") from error

    def to_text(self) -> str:
        """The key as ``ed25519:<base64>``."""
        return _key_text(self._key.public_bytes_raw())

    def verifies(self, signature: object, context: str, fields: Mapping[str, Any]) -> bool:
        """Whether a signature in base64 is this key's over this object; False for whatever is no signature, and for an
        object that cannot be signed."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(_base64_bytes(signature, 64), signed_bytes(context, fields))
        except (InvalidSignature, ValueError, SigningError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Signs in the name of its owner."""

    by: str
    """Whose key it is: a service, a worker or a person."""
    kid: str
    """Which of the owner's keys it is, such as ``2026-11``: keys are replaced with an overlap."""
    _key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def generate(cls, by: str, kid: str) -> "PrivateKey":
        """A new key.

        Raises:
            SigningError: the name or the key's id does not have the form of :data:`NAME`.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _check_names(by, kid)
        return cls(by, kid, Ed25519PrivateKey.generate())

    @classmethod
    def from_file(cls, path: Path) -> "PrivateKey":
        """Read a key that :meth:`to_file_text` wrote.

        Raises:
            SigningError: the file cannot be read, or has no key.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            with path.open("rb") as file:
                stored = tomllib.loads(file.read(MAX_KEY_FILE_BYTES).decode("utf-8"))
        except OSError as error:
            raise SigningError(f"{path} can't be read: {error.strerror or type(error).__name__}") from None
        except ValueError:
            raise SigningError(f"{path} is not a key file: it is not TOML") from None
        by, kid = stored.get("by"), stored.get("kid")
        if not {"by", "kid", "private"} <= stored.keys():
            raise SigningError(f"{path} is not a key file: `orders keygen` makes one, with `by`, `kid` and `private`")
        try:
            _check_names(by, kid)
        except SigningError as error:
            raise SigningError(f"{path} is not a key file: {error}") from None
        try:
            return cls(str(by), str(kid), Ed25519PrivateKey.from_private_bytes(_key_bytes(stored.get("private"))))
        except ValueError:
            raise SigningError(f"{path} is not a key file: `private` is not a private key of Ed25519") from None

    def to_file_text(self) -> str:
        """The key as its file holds it (TOML). It is a secret."""
        private = _key_text(self._key.private_bytes_raw())
        return f'by = "{self.by}"\nkid = "{self.kid}"\nprivate = "{private}"\n'

    def public(self) -> PublicKey:
        """The key that verifies this one's signatures."""
        return PublicKey(self._key.public_key())

    def sign(self, context: str, fields: Mapping[str, Any]) -> str:
        """The signature of an object, in base64.

        Raises:
            SigningError: the object holds what cannot be signed.
        """
        return base64.b64encode(self._key.sign(signed_bytes(context, fields))).decode("ascii")


def signed_bytes(context: str, fields: Mapping[str, Any]) -> bytes:
    """The bytes that a signature covers.

    Raises:
        SigningError: the object holds a number with a fraction, an integer above 2^53 - 1, text that is not Unicode, or
            anything else that not every language writes in the same way.
    """
    try:
        _check(dict(fields))
    except RecursionError:
        raise SigningError("it is nested too deeply") from None
    json = canonical_json(dict(fields))
    if not json:  # Python's encoder has limits of its own
        raise SigningError("it is nested too deeply")
    return context.encode("ascii") + b"\n" + json


def _check(value: Any, where: str = "the object") -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            # Code points and UTF-16 units, by which RFC 8785 sorts, have one order within ASCII.
            if not isinstance(name, str) or not name.isascii():
                raise SigningError(f"a name in {where} is not ASCII")
            _check(item, name)
    elif type(value) is list or type(value) is tuple:
        for item in value:
            _check(item, where)
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise SigningError(f"{where} is not Unicode text") from None
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise SigningError(f"{where} is neither a text nor an integer of at most 2^53 - 1: write amounts as texts")


def _check_names(*names: object) -> None:
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise SigningError("the name and the id of a key are 1 to 64 lower-case letters, digits, - and _")


def _key_text(raw: bytes) -> str:
    return PREFIX + base64.b64encode(raw).decode("ascii")


def _key_bytes(text: object) -> bytes:
    if not isinstance(text, str) or not text.startswith(PREFIX):
        raise SigningError(f"a key begins with {PREFIX}")
    return _base64_bytes(text.removeprefix(PREFIX), 32)


def _base64_bytes(text: object, length: int) -> bytes:
    """The bytes of canonical base64: one text for each value, so that no signature has two forms."""
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) and len(text) < 2 * length else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != length or base64.b64encode(raw).decode("ascii") != text:
        raise SigningError(f"it is not base64 of {length} bytes")
    return raw


def _require_cryptography() -> None:
    """Raise SigningError that says how to install the library where it is missing."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        message = "signing needs the package cryptography: pip install './producers[signing]' in a checkout"
        raise CryptographyMissing(message) from None

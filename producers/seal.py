"""Seals: a producer signs each command that it sends, and a worker sees whose command it is and that it is unchanged.

A seal is the message header ``orders_seal``, the object ``{"v": 1, "by", "kid", "at", "until", "sig"}``. ``sig`` is the
Ed25519 signature (:mod:`producers.signing`) of ``{v, by, kid, at, until, task, id, kwargs}``: the same fields without
``sig``, the task's name, the command's id, and the keyword arguments as they are in the message. Nothing is optional,
and there is no field that names an algorithm.

The id of a sealed command begins with ``<by>.``, so that no producer can take another's id.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from producers.signing import NAME, PrivateKey, PublicKey, SigningError, signed_bytes

HEADER = "orders_seal"
"""The message header that holds a seal."""
CONTEXT = "orders-command-v1"
"""What the signature of a seal is about, see :mod:`producers.signing`."""
VERSION = 1
MAX_VALID_MS = 24 * 60 * 60 * 1000
"""How long a seal may be valid. It is less than the time for which the ledger keeps an id: a seal that is used again
meets the record of its first use, or has expired."""

_FIELDS = frozenset({"v", "by", "kid", "at", "until", "sig"})
_SIGNATURE_LENGTH = 88
"""Characters of 64 bytes in base64."""

_UNSIGNABLE = (
    "the command's arguments cannot be sealed: there is a number with a fraction or above 2^53 - 1, a name with "
    "several values or that is not ASCII, or text that is not Unicode"
)

Flaw = Literal["malformed", "foreign_id", "arguments", "signature"]
"""What is wrong with a seal: the header is no seal; the id is not one of the sealer's; the arguments hold what cannot
be signed; the signature is not this key's over this command."""


class SealError(Exception):
    """A command cannot be sealed, or its seal does not verify. The text says why, and quotes nothing of the message."""

    def __init__(self, flaw: Flaw, text: str) -> None:
        super().__init__(text)
        self.flaw: Flaw = flaw
        """Why, as a stable word for metrics and the journal."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A well-formed seal, of which nothing is verified yet."""

    by: str
    """Whose seal it says it is."""
    kid: str
    """With which of the owner's keys it says it was made."""
    at: int
    """When it was made, in UNIX milliseconds."""
    until: int
    """The command is not begun after this time, in UNIX milliseconds."""
    sig: str

    @classmethod
    def from_header(cls, header: object) -> "Seal":
        """Read the header :data:`HEADER` of a message.

        Raises:
            SealError: it is not a seal.
        """
        if not isinstance(header, Mapping) or header.keys() != _FIELDS:
            raise SealError("malformed", "the seal is not an object with exactly v, by, kid, at, until and sig")
        by, kid, at, until = header["by"], header["kid"], header["at"], header["until"]
        # A bool is an int in Python, and True is equal to 1.
        if type(header["v"]) is not int or header["v"] != VERSION:
            raise SealError("malformed", f"the seal's v is not {VERSION}")
        if not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in (by, kid)):
            raise SealError("malformed", "the seal's by and kid are not names of lower-case letters, digits, - and _")
        if not isinstance(header["sig"], str) or len(header["sig"]) != _SIGNATURE_LENGTH:
            raise SealError("malformed", "the seal's sig is not 64 bytes in base64")
        _check_times(at, until)
        return cls(by, kid, at, until, header["sig"])

    def to_header(self) -> dict[str, Any]:
        """The seal as the header holds it."""
        times = {"at": self.at, "until": self.until}
        return {"v": VERSION, "by": self.by, "kid": self.kid, **times, "sig": self.sig}


def seal(
    private_key: PrivateKey, task: str, command_id: str, kwargs: Mapping[str, Any], at: int, until: int
) -> dict[str, Any]:
    """The header that seals a command, whose message must hold exactly these ``kwargs``. Times are UNIX milliseconds.

    Raises:
        SealError: the id does not begin with the key's ``by`` and a dot, ``until`` is not within 24 h after ``at``, or
            the arguments hold what cannot be signed, such as a number with a fraction.
    """
    _check_id(private_key.by, command_id)
    _check_times(at, until)
    fields = _signed_fields(private_key.by, private_key.kid, at, until, task, command_id, kwargs)
    try:
        sig = private_key.sign(CONTEXT, fields)
    except SigningError as error:
        raise SealError("arguments", str(error)) from None
    return Seal(private_key.by, private_key.kid, at, until, sig).to_header()


def verify(found: Seal, public_key: PublicKey, task: object, command_id: object, kwargs: object) -> None:
    """Check that a seal is the signature of this command by the owner of ``public_key``.

    The command is what its message says, whatever that is. :mod:`producers.message_json` has read ``kwargs``: it reads
    a number with a fraction as a float or a Decimal, and a name with several values as
    :class:`~producers.exact_json.ConflictingValues`; neither can be signed. A name that occurs twice with one value has
    only this meaning, and the value that is verified here is the one that is executed.

    The caller has chosen the key by ``by`` and ``kid``, and compares ``at`` and ``until`` with its clock.

    Raises:
        SealError: it is not.
    """
    _check_id(found.by, command_id)
    if not isinstance(kwargs, dict):
        raise SealError("arguments", "the command's arguments are not an object")
    fields = _signed_fields(found.by, found.kid, found.at, found.until, task, command_id, kwargs)
    if public_key.verifies(found.sig, CONTEXT, fields):
        return
    try:
        signed_bytes(CONTEXT, fields)
    except SigningError:  # whose text may quote a name
        raise SealError("arguments", _UNSIGNABLE) from None
    raise SealError("signature", "the seal's signature is not the one of this command by this key")


def _signed_fields(
    by: str, kid: str, at: int, until: int, task: object, command_id: object, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    sealed = {"v": VERSION, "by": by, "kid": kid, "at": at, "until": until}
    return {**sealed, "task": task, "id": command_id, "kwargs": dict(kwargs)}


def _check_id(by: str, command_id: object) -> None:
    if not isinstance(command_id, str) or not command_id.startswith(f"{by}.") or command_id == f"{by}.":
        raise SealError("foreign_id", "the id of a sealed command begins with the name of its sealer and a dot")


def _check_times(at: object, until: object) -> None:
    if type(at) is not int or type(until) is not int or not 0 < at < until < 10**15:
        raise SealError("malformed", "the seal's at and until are not UNIX milliseconds, until after at")
    if until - at > MAX_VALID_MS:
        raise SealError("malformed", "the seal is valid for more than 24 h")

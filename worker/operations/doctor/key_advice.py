"""What to do about a key that a venue refuses: the causes that its message names, each with where to mend it.

The messages are the venues' own, and ``docs/venues.md`` has the codes of Bit-Z. A message may name several causes: the
one of Binance's -2015 names three. Nothing is concluded from a message but advice.
"""

import re

CLOCK_ADVICE = "let NTP set this machine's clock (timedatectl set-ntp true, or chronyd)"

_KEY, _SECRET, _PASSPHRASE, _CLOCK, _ADDRESS, _RIGHTS, _NETWORK = (
    "check {prefix}API_KEY: it must be copied whole, and be neither deleted nor expired at the venue",
    "check {prefix}SECRET_KEY: it must be the one of this API key, copied whole",
    "check {prefix}PASSPHRASE: the one that was chosen when the key was made, not the password of the login",
    CLOCK_ADVICE,
    "at the venue, add this machine's public address to those from which the key may be used",
    "at the venue, give the key the rights to read and to trade, and to withdraw only if this account is to withdraw",
    "the key may be one of the venue's other network: {prefix}TESTNET must say whether it is of the test network",
)

_CAUSES = (
    (r"passphrase", _PASSPHRASE),
    (r"time.?stamp|recv_?window|nonce|request.?(?:has.?)?expired|too old|time.?(?:out of|range)", _CLOCK),
    (r"\bip\b|ip_|white.?list", _ADDRESS),
    (r"permission|\bscope|forbidden|insufficient.?(?:rights|privilege)|read.?only", _RIGHTS),
    (r"environment", _NETWORK),
    (r"\bsign\b|signature|\(-10[59]\)", _SECRET),
    (r"invalid.{0,11}key|key.*(?:n['o]t exist|expired|invalid)|\(-117\)|\(-300069\)", _KEY),
)
_KEY_OR_SECRET = re.compile(r"(?i)auth|credential|log ?in")


def key_advice(message: str, prefix: str) -> str:
    """What to do about a refusal with this message; ``prefix`` is that of the account's settings."""
    found = [advice for pattern, advice in _CAUSES if re.search(f"(?i){pattern}", message)]
    if not found and _KEY_OR_SECRET.search(message):
        found = [_KEY, _SECRET]
    if not found:
        found = [_KEY, _SECRET, _RIGHTS, _ADDRESS]
    return "; or ".join(found).format(prefix=prefix)

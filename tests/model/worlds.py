"""The bounded worlds that are searched, and what each of them must come to."""

from dataclasses import replace

from tests.model.transition_table import SENDING, TABLE, Ask, Rec
from tests.model.world import Config

THREE = ("able",) * 3
EVERYTHING = Config(deadline=True, halts=True)

HOLD: dict[str, Config] = {
    "withdraw": Config(),
    "withdraw, a deadline": Config(deadline=True),
    "withdraw, a venue that looks at no clock": Config(window=False, deadline=True),
    "close, a deadline": Config("close", deadline=True),
    "cancel": Config("cancel", window=False),
    "withdraw, a deadline and halts": EVERYTHING,
    "withdraw, a worker without the account": replace(EVERYTHING, workers=("able", "unable")),
    "withdraw, a patient operator": replace(EVERYTHING, operator="patient"),
    "withdraw, a patient operator and lists that lie": Config(operator="patient", lists=True),
    "close, a patient operator and lists that lie": Config("close", operator="patient", lists=True),
    "cancel, halts": Config("cancel", window=False, halts=True),
}
"""Every rule holds in every state, and an end is always within reach."""


def _by_token_alone(rec: Rec, ask: Ask) -> bool:
    return rec.token == ask.dead.token and not rec.lease


_BY_TOKEN = {**TABLE, "abandon": replace(TABLE["abandon"], guard=_by_token_alone)}
_HALTED_FIRST = {
    "begin: halted": replace(TABLE["begin: halted"], states=(SENDING,)),
    **{name: row for name, row in TABLE.items() if name != "begin: halted"},
    "begin: halted, else": TABLE["begin: halted"],
}
HOLES: dict[str, tuple[Config, str]] = {
    "hole: ended by what was found long ago": (Config(halts=True, rows=_BY_TOKEN), "truth: rejected"),
    "hole: the same without a halt": (Config(workers=("able", "unable"), rows=_BY_TOKEN), "truth: rejected"),
    "hole: a granted begin is halted": (
        Config("cancel", window=False, halts=True, rows=_HALTED_FIRST),
        "truth: rejected",
    ),
    "hole: signed after the lease": (Config(operator="patient", sign_first=False), "truth: rejected"),
}
"""What the search found in the code as it once was; tests/model/test_holes.py plays them on the real one."""

CANNOT_HOLD: dict[str, tuple[Config, str]] = {
    "can't hold: an operator who does not wait": (
        replace(EVERYTHING, operator="hasty"),
        "truth: rejected",
    ),
    "can't hold: a patient one, and a venue that looks at no clock": (
        replace(EVERYTHING, operator="patient", window=False),
        "truth: rejected",
    ),
    "can't hold: a patient one, and a cancel, which has no timestamp": (
        Config("cancel", window=False, operator="patient"),
        "truth: rejected",
    ),
    "can't hold: not a byte after the deadline": (
        replace(EVERYTHING, not_a_byte_late=True),
        "rule 4: it sends after the deadline",
    ),
}
"""What nobody can promise, whatever the code: a process may be stopped between its last look at the clock and its first
byte, and a network may deliver late."""

LONG: dict[str, Config] = {
    "long: withdraw, three workers": Config(workers=THREE),
    "long: withdraw, three workers, everything": replace(
        EVERYTHING, workers=(*THREE[:2], "unable"), operator="patient"
    ),
    "long: close, three attempts": Config("close", attempts=3, deadline=True),
    "long: cancel, three workers": Config("cancel", window=False, workers=THREE),
    "long: cancel, three attempts": Config("cancel", window=False, attempts=3),
}
"""Minutes."""

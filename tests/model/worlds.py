"""The bounded worlds that are searched, and the expected result of each."""

from dataclasses import replace

from tests.model.transition_table import SENDING, TABLE
from tests.model.world import Config

CANCEL = Config("cancel", window=False)
EVERYTHING = Config(deadline=True, halts=True)
OPERATED = Config(operator="patient")
LISTED = Config(operator="patient", lists=True)
PARKING = Config(parks=True)
LOOKING = Config("close", looks="any", attempts=1)
LOOKING_WITHDRAW = Config(looks="any", window=False)
LOOKING_AGAIN = replace(LOOKING, attempts=2)
LOOKING_WHOLE = replace(LOOKING_AGAIN, kind="cancel")
ELSEWHERE = replace(LOOKING, workers=("able", "elsewhere"))
THREE = ("able",) * 3

HOLD: dict[str, Config] = {
    "withdraw": Config(),
    "withdraw, a deadline": Config(deadline=True),
    "withdraw, a venue that looks at no clock": Config(window=False, deadline=True),
    "withdraw, limits and a patient operator": Config(limits=True, operator="patient", workers=("able", "unable")),
    "withdraw, an approval": Config(approval=True, deadline=True),
    "withdraw, an approval, a halt, a worker without the account": Config(
        approval=True, halts=True, workers=("able", "unable")
    ),
    "withdraw, an approval, limits": Config(approval=True, limits=True),
    "close, a deadline": Config("close", deadline=True),
    "cancel": CANCEL,
    "withdraw, a deadline and halts": EVERYTHING,
    "withdraw, a worker without the account": replace(EVERYTHING, workers=("able", "unable")),
    "withdraw, a patient operator and lists that lie": LISTED,
    "close, a patient operator and lists that lie": replace(LISTED, kind="close"),
    "withdraw, an end in one step": replace(EVERYTHING, follows=True),
    "cancel, an end in one step": replace(CANCEL, follows=True),
    "withdraw, parking": PARKING,
    "withdraw, parking, a begin that has to wait, time for retries": replace(PARKING, throttled=True, budget=True),
    "close, parking, a begin that has to wait, a worker without the account": replace(
        PARKING, kind="close", throttled=True, workers=("able", "unable")
    ),
    "cancel, parking": replace(CANCEL, parks=True),
    "withdraw, a begin that has to wait, no parking": Config(throttled=True),
    "withdraw, looks": LOOKING_WITHDRAW,
    "close, looks, rejections on record, replicas": replace(LOOKING, looks="unique", records=True, replicas=True),
    "close, looks, two accounts": ELSEWHERE,
}
"""Every rule holds in every state, and an end is always within reach."""

LONG: dict[str, Config] = {
    "long: close, looks": LOOKING_AGAIN,
    "long: close, looks, ids unique among open orders, rejections on record, replicas": replace(
        LOOKING_AGAIN, looks="open", records=True, replicas=True
    ),
    "long: close, looks, parking": replace(LOOKING, parks=True, replicas=True),
    "long: close, looks, parking, two accounts": replace(ELSEWHERE, attempts=2, parks=True),
    "long: close of a whole position, looks": LOOKING_WHOLE,
    "long: cancel, halts": replace(CANCEL, halts=True),
    "long: withdraw, a patient operator": replace(EVERYTHING, operator="patient"),
    "long: withdraw, limits and halts": Config(limits=True, halts=True),
    "long: withdraw, three workers": Config(workers=THREE),
    "long: withdraw, three workers, everything": replace(
        EVERYTHING, workers=("able", "able", "unable"), operator="patient"
    ),
    "long: withdraw, three workers, an approval": Config(workers=THREE, approval=True, halts=True),
    "long: close, three attempts": Config("close", attempts=3, deadline=True),
    "long: withdraw, parking, a begin that has to wait, a deadline and halts": replace(
        EVERYTHING, parks=True, throttled=True
    ),
    "long: withdraw, parking, a begin that has to wait, limits, a patient operator": replace(
        PARKING, throttled=True, limits=True, operator="patient"
    ),
    "long: cancel, parking, a begin that has to wait, time for retries": replace(
        CANCEL, parks=True, throttled=True, budget=True
    ),
    "long: withdraw, parking, three workers": replace(PARKING, throttled=True, workers=THREE),
    "long: close, parking, three attempts": replace(PARKING, kind="close", attempts=3, deadline=True),
    "long: cancel, three workers": replace(CANCEL, workers=THREE),
    "long: cancel, three attempts": replace(CANCEL, attempts=3),
}
"""Larger worlds in which every rule holds too; they take minutes, and `make model` searches them."""

BY_TOKEN_ALONE = {
    **TABLE,
    "abandon": replace(TABLE["abandon"], guard=lambda rec, ask: rec.token == ask.dead.token and not rec.lease),
}
HALTED_FIRST = {
    "begin: halted": replace(TABLE["begin: halted"], states=(SENDING,)),
    **{name: row for name, row in TABLE.items() if name != "begin: halted"},
    "begin: halted, else": TABLE["begin: halted"],
}
UNTRUE = "truth: rejected"
HOLES: dict[str, tuple[Config, str]] = {
    "hole: ended by what was found long ago": (Config(halts=True, rows=BY_TOKEN_ALONE), UNTRUE),
    "hole: the same without a halt": (Config(workers=("able", "unable"), rows=BY_TOKEN_ALONE), UNTRUE),
    "hole: a granted begin is halted": (replace(CANCEL, halts=True, rows=HALTED_FIRST), UNTRUE),
    "hole: signed after the lease": (replace(OPERATED, sign_first=False), UNTRUE),
}
"""Faults that the search found in earlier versions of the code, with the rows of that time."""

CANNOT_HOLD: dict[str, tuple[Config, str]] = {
    "can't hold: an operator who does not wait": (replace(EVERYTHING, operator="hasty"), UNTRUE),
    "can't hold: a patient one, and a venue that looks at no clock": (
        replace(EVERYTHING, operator="patient", window=False),
        UNTRUE,
    ),
    "can't hold: a patient one, and a cancel, which has no timestamp": (replace(CANCEL, operator="patient"), UNTRUE),
    "can't hold: not a byte after the deadline": (
        replace(EVERYTHING, not_a_byte_late=True),
        "rule 4: it sends after the deadline",
    ),
}
"""What no code can promise: a process may be stopped between its last look at the clock and its first byte, and a
network may deliver late."""

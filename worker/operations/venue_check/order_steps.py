"""The steps with an order: submitted, found by its handle, cancelled, and found again.

Whatever happens in between, Ctrl-C included, what may stand at the venue is looked for and cancelled, and
:class:`Standing` says what is known of it. Nothing is submitted twice.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from producers.commands import Cancel, Submit
from worker.operations.venue_check.far_order import FarOrder
from worker.operations.venue_check.steps import Checked, new_id
from worker.venues.base import Plan, PlanFailed, PlanRefused, Proof, Verdict
from worker.venues.lookups import Lookup, Sight, Sighting

LOOKS, SECONDS_APART = 5, 1.0
"""How often an order is looked for before it counts as not shown, and how long apart."""
SETTLE_SECONDS = 5.0
"""After the venue can't take the request any more, until its absence counts."""
ENOUGH_ABSENCES = 2
CANCELS = 3
"""How often a cancel is sent; it may be, because a cancelled order can't be cancelled again."""


class Standing(StrEnum):
    """What stands of the order at the venue."""

    NOTHING = "nothing was submitted"
    MAYBE = "it may stand"
    OPEN = "it stands"
    GONE = "it is cancelled"
    ABSENT = "it never arrived"


class OrderCheck:
    """Submits one order and takes it back."""

    def __init__(self, checked: Checked, order: FarOrder) -> None:
        self._checked = checked
        self._order = order
        self._command = order.command
        self._lookup: Lookup | None = None
        self.standing = Standing.NOTHING
        self.reference = ""
        """The venue's own id of the order."""

    @property
    def handle(self) -> str:
        """The client order id; empty before the order is planned."""
        return self._lookup.handle if self._lookup else ""

    @property
    def cleared(self) -> bool:
        """Whether nothing of the order stands at the venue."""
        return self.standing not in (Standing.MAYBE, Standing.OPEN)

    def plan(self) -> Plan:
        """Plan the order; all reads that it needs.

        Raises:
            PlanRefused, PlanFailed: it can't be submitted, and nothing was sent.
        """
        checked = self._checked
        if why := checked.venue.unsupported(self._command):
            raise PlanRefused(why)
        plan = checked.venue.plan(self._command, new_id(), checked.account, checked.recorder.send)
        if plan.lookup is None:
            raise PlanRefused("the venue knows no client order ids, so a lost reply could not be told from none")
        self._lookup = plan.lookup
        checked.recorder.named |= {plan.lookup.handle: "handle"}
        return plan

    def run(self, plan: Plan) -> None:
        """Submit, look, cancel and look again. Whatever is raised, the order has been taken back before, if it could
        be."""
        try:
            self._submit(plan)
            if not self.cleared:
                self._look_while_open()
        finally:
            if not self.cleared:
                self._take_back()
        if self.standing is Standing.GONE:
            self._see_it_cancelled()
            self._look_when_cancelled()

    def _submit(self, plan: Plan) -> None:
        plan = self._checked.timed(plan)
        self.standing, self._lookup = Standing.MAYBE, plan.lookup
        try:
            verdict = self._checked.send(plan)
        except PlanRefused as refusal:
            self.standing = Standing.NOTHING
            self._checked.tell("submit", False, str(refusal))
            return
        if verdict.proof in (Proof.NOT_EXECUTED, Proof.REFUSED):
            self.standing = Standing.NOTHING
        if verdict.proof is Proof.EXECUTED:
            self.standing, self.reference = Standing.OPEN, _id_in(verdict.result)
            self._name_reference()
        self._checked.tell(
            "submit", verdict.proof is Proof.EXECUTED, f"{verdict.proof}: {verdict.message}", Submit.name
        )

    def _look_while_open(self) -> None:
        sighting = self._until_found(self._look)
        good = sighting.sight is Sight.FOUND and sighting.taken is True
        self._checked.tell("look for the open order", good, _told(sighting), "look")

    def _see_it_cancelled(self) -> None:
        """Some exchanges only say that a cancel was accepted. An order that is still open then stands."""
        checked, symbol = self._checked, self._lookup.symbol if self._lookup else ""
        lookup = Lookup(self.reference, symbol)
        sighting = self._until_found(
            lambda: checked.venue.look(self._cancel_command(), lookup, checked.account, checked.recorder.send)
        )
        if sighting.sight is Sight.ABSENT:
            self.standing = Standing.OPEN
        checked.tell("see it cancelled", sighting.taken is True, _told(sighting))

    def _look_when_cancelled(self) -> None:
        """The positive control: a look that finds an open order may not find a cancelled one, and then its absence
        would prove nothing."""
        sighting = self._until_found(self._look)
        good = sighting.sight is Sight.FOUND and sighting.taken is not None
        self._checked.tell("look for the cancelled order", good, _told(sighting), "look-ended")

    def _until_found(self, look: Callable[[], Sighting]) -> Sighting:
        for number in range(LOOKS):
            if number:
                self._checked.clock.sleep(SECONDS_APART)
            sighting = look()
            if sighting.sight is Sight.FOUND:
                break
        return sighting

    def _look(self) -> Sighting:
        checked, lookup = self._checked, self._lookup
        if lookup is None:
            raise AssertionError("an order is looked for after it was planned")
        sighting = checked.venue.look(self._command, lookup, checked.account, checked.recorder.send)
        if sighting.sight is Sight.FOUND:
            self.reference = sighting.reference or self.reference
            self._name_reference()
        return sighting

    def _take_back(self) -> None:
        """Cancel the order, by the id that the venue gave it."""
        if not self.reference:
            self._look_for_the_lost()
        for number in range(CANCELS if self.reference and not self.cleared else 0):
            if number:
                self._checked.clock.sleep(SECONDS_APART)
            if self._cancel():
                return

    def _look_for_the_lost(self) -> None:
        """Look for an order whose submission was not answered, also after the venue can no longer take it: absent twice
        then, by both clocks, it never arrived."""
        clock, until_ms = self._checked.clock, self._lookup.until_ms if self._lookup else 0
        sighting, absences = self._until_found(self._look), 0
        while sighting.sight is Sight.ABSENT and until_ms and absences < ENOUGH_ABSENCES:
            clock.sleep(max((until_ms - clock.now_ms()) / 1000 + SETTLE_SECONDS, SECONDS_APART))
            sighting = self._look()
            if sighting.venue_time_ms is None or sighting.venue_time_ms <= until_ms:
                break
            absences += sighting.sight is Sight.ABSENT
        if absences == ENOUGH_ABSENCES:
            self.standing = Standing.ABSENT
        self._checked.tell("look for the lost order", sighting.sight is not Sight.UNREADABLE, _told(sighting))

    def _cancel_command(self) -> Cancel:
        return Cancel(account=self._checked.account.alias, order_id=self.reference, pair=self._command.pair)

    def _cancel(self) -> bool:
        """Cancel once; whether the order is gone."""
        checked = self._checked
        try:
            plan = checked.venue.plan(self._cancel_command(), new_id(), checked.account, checked.recorder.send)
            verdict = checked.send(checked.timed(plan))
        except (PlanRefused, PlanFailed) as refusal:
            checked.tell("cancel", False, str(refusal))
            return False
        if verdict.proof is Proof.EXECUTED:
            self.standing = Standing.GONE
        self._tell_verdict(Cancel.name, verdict)
        return self.standing is Standing.GONE

    def _tell_verdict(self, command: str, verdict: Verdict) -> None:
        words = f"{verdict.proof}: {verdict.message}"
        self._checked.tell(command, verdict.proof is Proof.EXECUTED, words, command)

    def _name_reference(self) -> None:
        if self.reference:
            self._checked.recorder.named |= {self.reference: "order id"}


_ID_FIELDS = ("id", "order_id", "orderId", "ordId")


def _id_in(result: object) -> str:
    """The venue's id of the order in a verdict's result; a look tells it as well."""
    if isinstance(result, Mapping):
        result = next((result[name] for name in _ID_FIELDS if result.get(name)), "")
    return str(result) if isinstance(result, str | int) else ""


def _told(sighting: Sighting) -> str:
    return f"{sighting.sight.value}: {sighting.words}"

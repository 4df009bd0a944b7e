"""A command's timeline: what the journal says of it, each entry as a sentence for people.

An entry says what was recorded and when, by the ledger's clock. It does not have what a venue answered: that of the
last attempt is in the report, and of earlier ones the record knows only whether their fate is known.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from producers.cli.output import when
from producers.printable import printable
from producers.report import Reason, Report
from worker.execution.policy.producer_auth import PROBLEMS
from worker.ledger.decisions import read_decision
from worker.ledger.journal import JournalEntry
from worker.ledger.journal_search import ENDS
from worker.ledger.records import Record
from worker.operations.signed_words import DECISIONS, RECONCILE, entry_verdict
from worker.public_keys import PublicKeys

MAX_WORDS = 1200
"""How many characters a sentence may have: a report's message has up to 1,000."""
MAX_NAME = 100
MAX_MOMENTS = 400
"""How many moments are told of one command: the first hundred, and the last."""
FIRST_MOMENTS = 100


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a command."""

    at: int
    """UNIX ms on the ledger's clock; of the event ``enqueued`` on its sender's."""
    event: str
    """The journal's word for it, or ``enqueued``, or ``omitted``."""
    words: str
    """A sentence for people, of visible characters on one line."""
    who: str = ""
    """The person, or ``reconcile``, whose word it is."""
    verdict: str = ""
    """Whether that word is signed, and by whom (:func:`~worker.operations.signed_words.entry_verdict`)."""
    position: str = ""
    """Of the entry in the journal; empty where the journal does not have it."""


@dataclass(slots=True)
class _Story:
    """What is known so far while the entries are read, oldest first."""

    record: Record | None
    last_end: str
    """The position of the last entry that ends the command: only to that one the report belongs."""
    attempt: int = 0
    token: str = ""
    before: str = ""
    """The event before, of those that move the record."""
    entry: JournalEntry = field(default_factory=lambda: JournalEntry("0-0", {}))

    def field(self, name: str, limit: int = MAX_WORDS) -> str:
        """A field of the entry, fit to be shown."""
        return printable(self.entry.fields.get(name, ""), limit)


def tell(
    entries: Iterable[JournalEntry], record: Record | None, enqueued_at: int | None, keys: PublicKeys | None
) -> tuple[Moment, ...]:
    """The moments of one command, from its entries, oldest first. ``enqueued_at`` is its sender's word."""
    listed = list(entries)
    ends = [each.position for each in listed if each.fields.get("event") in ENDS]
    story = _Story(record, ends[-1] if ends else "")
    moments = [_moment(story, entry, keys) for entry in listed]
    if enqueued_at is not None:
        moments.insert(0, Moment(enqueued_at, "enqueued", _enqueued(record)))
    return _bounded(moments)


def _enqueued(record: Record | None) -> str:
    by = printable(record.sealed_by, MAX_NAME) if record else ""
    return f"It was enqueued{f' by {by}, who sealed it' if by else ''}. This time is by its sender's clock."


def _bounded(moments: list[Moment]) -> tuple[Moment, ...]:
    left_out = len(moments) - MAX_MOMENTS
    if left_out <= 0:
        return tuple(moments)
    behind = FIRST_MOMENTS + left_out
    words = f"{left_out} entries between these are not shown here; `orders journal ID` shows all of them."
    return (*moments[:FIRST_MOMENTS], Moment(moments[FIRST_MOMENTS].at, "omitted", words), *moments[behind:])


def _moment(story: _Story, entry: JournalEntry, keys: PublicKeys | None) -> Moment:
    event = printable(entry.fields.get("event", ""), MAX_NAME)
    story.entry = entry
    words = _SENTENCES.get(event, _other)(story)
    if event in _MOVES:
        story.before = event
    who = printable(entry.fields.get("who", ""), MAX_NAME)
    verdict = printable(entry_verdict(entry.fields, keys, entry.at), MAX_WORDS)
    return Moment(entry.at, event, printable(words, MAX_WORDS), who, verdict, entry.position)


# -- what each event means -----------------------------------------------------------------------------------------


def _begin(story: _Story) -> str:
    token, before = story.entry.fields.get("token", ""), story.before
    is_owner, story.token = token == story.token, token
    if is_owner and before in ("begin", "renew"):
        return f"The begin of attempt {story.attempt} was recorded again: the reply to the first call was lost."
    story.attempt += 1
    said = f"Attempt {story.attempt} began, and the ledger had it on record before anything was sent"
    if before == "park":
        return f"{said}. A worker took it because it was due."
    if is_owner or not before or before == "held":
        return f"{said}."
    return f"{said}. Another worker took it over: its owner's lease had ended without a word."


def _look(story: _Story) -> str:
    is_owner = story.entry.fields.get("token", "") == story.token
    story.token = story.entry.fields.get("token", "")
    said = "what became of it is not known, and nothing is sent while the venue is asked for it by its client order id"
    if is_owner or story.before == "park":
        return f"A worker took it to look for it: {said}."
    return f"Another worker took it over to look for it, because its owner's lease had ended: {said}."


def _pause(story: _Story) -> str:
    if story.before not in ("begin", "renew"):
        return "The same worker goes on waiting, or looks for it at the venue again."
    return (
        f"Attempt {story.attempt} was over without an end{_doubt(story)}. "
        "Its worker keeps it, and waits for the next attempt or a look at the venue."
    )


def _park(story: _Story) -> str:
    over = (
        f"Attempt {story.attempt} was over without an end{_doubt(story)}. "
        if story.before in ("begin", "renew")
        else ""
    )
    return f"{over}It was parked: no worker has it, and any may take it when it is due."


def _doubt(story: _Story) -> str:
    """What an entry says about whether an attempt so far was executed."""
    doubt = story.field("doubt", MAX_NAME)
    words = _DOUBTS.get(doubt, doubt)
    whose = "an attempt so far" if story.attempt > 1 else "it"
    return f"; whether {whose} was executed is not known: {words}" if doubt else ""


def _renew(story: _Story) -> str:
    return (
        f"The lease of attempt {story.attempt} was renewed. If its request was sent, it may have been signed only then."
    )


def _held(story: _Story) -> str:
    until = story.entry.fields.get("until", "")
    limit = f" until {when(int(until))}" if _is_time(until) else ""
    return f"It was held for approval{limit}. Nothing was sent."


def _decided(story: _Story) -> str:
    who, event = story.field("who", MAX_NAME), story.entry.fields["event"]
    said = story.entry.fields.get("who"), event == "approved"
    stored = story.record.hold.decisions if story.record and story.record.hold else ()
    decisions = [each.decision for each in map(read_decision, stored) if each]
    reasons = [each.reason for each in decisions if (each.who, each.approves) == said]
    reason = printable(reasons[-1], MAX_WORDS) if reasons and reasons[-1] else ""
    return f"{who} {event} it{f': {reason}' if reason else '.'}"


def _settle(story: _Story) -> str:
    outcome, attempts = story.field("outcome", MAX_NAME), story.attempt
    if not attempts:
        return f"It ended as {outcome}, although no begin is on record any more{_ending(story)}"
    return f"It ended as {outcome}{_ending(story)}"


def _refuse(story: _Story) -> str:
    return f"It ended as {story.field('outcome', MAX_NAME)} without having begun: nothing was sent{_ending(story)}"


def _abandon(story: _Story) -> str:
    outcome = story.field("outcome", MAX_NAME)
    return f"Its worker was gone, its lease had ended, and another worker ended it as {outcome}{_ending(story)}"


def _ending(story: _Story) -> str:
    """The report's reason and message, where it is the report of this entry."""
    report = story.record.report if story.record else None
    if not is_of(report, story.entry, story.last_end) or report is None:
        return ". Its report from then is not kept."
    return f" ({report.reason}): {report.message}"


def is_of(report: Report | None, entry: JournalEntry, last_end: str) -> bool:
    """Whether a record's report is that of this entry, and not of a later one."""
    return report is not None and entry.position == last_end and entry.fields.get("outcome") == report.outcome.value


def _late(story: _Story) -> str:
    return (
        f"A worker that did not own it any more came with its outcome, {story.field('outcome', MAX_NAME)}. "
        "That changed nothing: the record stands."
    )


def _resolve(story: _Story) -> str:
    who, why, outcome = story.field("who", MAX_NAME), story.field("why"), story.field("outcome", MAX_NAME)
    if story.entry.fields.get("who") == RECONCILE:
        return f"It was settled as {outcome} by what the venue shows: {why}"
    reference = story.field("reference", MAX_NAME)
    named = f", the venue's id being {reference}" if reference else ""
    return f"It was settled as {outcome} by the word of {who}{named}: {why}"


def _id_reused(_: _Story) -> str:
    return "The same id came with other arguments: that command was refused, and this one was not touched."


def _badly_sealed(story: _Story) -> str:
    problem = PROBLEMS.get(story.entry.fields.get("why", ""), story.field("why", MAX_NAME))
    by = story.field("by", MAX_NAME)
    claimed = story.field("claimed_by", MAX_NAME)
    sender = f", sealed by {by}" if by else f", which claims to be sealed by {claimed}" if claimed else ""
    return f"A message with this id{sender} was not executed, because {problem}. It may be another sender's."


def _cool_down(story: _Story) -> str:
    until = story.entry.fields.get("until", "")
    limit = f" until {when(int(until))}" if _is_time(until) else ""
    return f"The venue's answer to it began a cool-down of its account or host{limit}: {story.field('why')}"


def _dead_letter(story: _Story) -> str:
    done = "sent again" if story.entry.fields.get("event") == "dead_resend" else "dropped"
    who, queue = story.field("who", MAX_NAME), story.field("scope", MAX_NAME)
    return f"A dead letter of {queue} with this id was to be {done}, by the word of {who}: {story.field('why')}"


def _webhook(story: _Story) -> str:
    name = story.field("webhook", MAX_NAME)
    if story.entry.fields.get("event") == "webhook_failed":
        return f"Its report was not delivered to the webhook {name}, and was given up: {story.field('why')}"
    return f"Its report was to be sent to the webhook {name} again: {story.field('why')}"


def _other(story: _Story) -> str:
    known = {"event", "id", "token", "outcome", "seq", "sha", "sig", "kid", "signed_at", "command", "account"}
    more = ", ".join(f"{name}={value}" for name, value in story.entry.fields.items() if value and name not in known)
    return f"{story.field('event', MAX_NAME) or 'An entry without an event'}{f': {more}' if more else ''}"


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


_DOUBTS: Mapping[str, str] = {
    Reason.LOST_REPLY: "no reply of the venue's own came",
    Reason.UNLISTED_ANSWER: "the venue's answer proves nothing",
    Reason.SEEN: "the venue knows its client order id already",
    Reason.CRASHED: "a worker died after its send was begun",
}
_MOVES = frozenset({"held", "begin", "look", "renew", "pause", "park", "settle", "refuse", "abandon", "resolve"})
_SENTENCES: Mapping[str, Callable[[_Story], str]] = {
    "held": _held,
    **dict.fromkeys(DECISIONS, _decided),
    "begin": _begin,
    "look": _look,
    "pause": _pause,
    "park": _park,
    "renew": _renew,
    "settle": _settle,
    "refuse": _refuse,
    "abandon": _abandon,
    "late": _late,
    "resolve": _resolve,
    "id_reused": _id_reused,
    **dict.fromkeys(("unsealed", "badly_sealed"), _badly_sealed),
    "cool_down": _cool_down,
    **dict.fromkeys(("dead_resend", "dead_drop"), _dead_letter),
    **dict.fromkeys(("webhook_failed", "webhook_resent"), _webhook),
}

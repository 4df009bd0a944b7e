"""The rules in the model's terms: what must hold of every step, of every state, and where nothing more can happen.

Each function returns the rule that does not hold, or nothing.
"""

from tests.model.transition_table import ABSENT, HELD, OPEN, PARKED, SETTLED, UNKNOWN, stays_counted
from tests.model.world import OUTCOMES, Config, State, Step, token

ACCEPTED, REJECTED, NOT_SENT = (OUTCOMES[name] for name in ("accepted", "rejected", "not_sent"))


def broken_by_step(config: Config, before: State, step: Step) -> str:
    if step.act == "send" and (broken := _broken_by_send(config, before, step)):
        return broken
    if step.act == "clear" and _may_be_executed(before, step):
        return "absence: it is taken for never executed, and it was, or may still be"
    if step.act == "sign" and before.past_deadline:
        return "rule 4: it signs after the deadline"
    if step.act == "wait" and before.spent:
        return "budget: it waits for another attempt after the time for retries"
    # Tokens are numbered anew when one is forgotten.
    moved = step.state.rec != before.rec._replace(token=step.state.rec.token)
    return _broken_by_move(config, before, step) if moved else ""


def _broken_by_send(config: Config, before: State, step: Step) -> str:
    worker = before.workers[step.by]
    if worker.begun != worker.attempt:
        return "rule 1: it sends, and the ledger has not confirmed that this attempt has begun"
    # A worker may be stopped before its first byte; the venue refuses what is over.
    if before.doubts and not config.repeatable and not worker.over:
        return "rule 2: it sends again without a proof that nothing was executed"
    if worker.signed != worker.attempt:
        return "rule 4: it sends a signature of another attempt"
    # An owner that was stopped between two attempts may go on after another, with the count that it knows.
    if before.begins > config.attempts and worker.attempt == 1 and before.rec.token == token(step.by, worker):
        return "attempts: it sends once more than it may"
    if config.approval and before.decision != "approved":
        return "approval: it sends, and nobody has approved it"
    if before.past_deadline and config.not_a_byte_late:
        return "rule 4: it sends after the deadline"
    return ""


def _may_be_executed(state: State, step: Step) -> bool:
    """Whether the owner is wrong that takes it for never executed; what others think, the ledger does not take."""
    owner = state.rec.token == token(step.by, state.workers[step.by])
    under_way = any(worker.at in ("send", "await_answer") and not worker.over for worker in state.workers)
    return owner and bool(state.executed or state.late or under_way)


def _broken_by_move(config: Config, before: State, step: Step) -> str:
    rec, report = before.rec, step.state.rec.report
    mine = step.by >= 0 and rec.token == token(step.by, before.workers[step.by])
    owner = mine and rec.state != PARKED
    move = step.row.partition(":")[0]
    if broken := _broken_by_parking(config, before, step):
        return broken
    if rec.state == UNKNOWN and not (move == "resolve" or (owner and move == "settle")):
        return "rule 3: an unknown is moved, and neither by its sender's evidence nor by an operator"
    if move == "resolve" and before.denied and report == "accepted":
        return "truth: accepted, and the venue's record says no"
    if rec.state == SETTLED or (rec.report and report != rec.report and rec.state != UNKNOWN):
        return "truth: an end is overwritten by another"
    orphan = rec.state in OPEN and not rec.lease
    takes_over = (orphan and move in ("begin", "look", "abandon")) or (
        rec.state == HELD and move in ("begin", "refuse")
    )
    if step.by >= 0 and rec.state != ABSENT and not owner and not takes_over:
        return "rule 5: a record is moved by one that does not own it"
    if rec.hold == "over" and move == "begin":
        return "approval: it begins after the time for which it was held"
    if move == "resolve" and rec.state != UNKNOWN:
        return "rule 5: an operator moves what is not unknown"
    return ""


def _broken_by_parking(config: Config, before: State, step: Step) -> str:
    if step.row == "begin: throttled":
        return "parked: a begin that has to wait changes the record"
    if before.rec.state != PARKED or step.by < 0:
        return ""
    if before.rec.lease:
        return "parked: it is moved before it is due"
    worker = before.workers[step.by]
    can_not_look = before.rec.tainted and not config.repeatable and before.rec.place != worker.place
    could_go_on = not (worker.refusing or config.approval or can_not_look)
    return "parked: it is ended by a worker that could go on" if step.row == "abandon" and could_go_on else ""


def broken_by_state(config: Config, state: State) -> str:
    if state.executed > 1 and not config.repeatable:
        return "rule 2: executed twice"
    said = state.delivered | (OUTCOMES[state.rec.report] if state.rec.report else 0)
    if said & ACCEPTED and not state.executed:
        return "truth: accepted, and nothing was executed"
    if said & (REJECTED | NOT_SENT) and state.executed:
        return "truth: rejected or not sent, and it was executed"
    if state.executed and not state.rec.counted:
        return "limits: it was executed and does not count"
    if state.rec.counted and state.rec.report and not stays_counted(state.rec.report):
        return "limits: it counts, and is proven not executed"
    final = said & (ACCEPTED | REJECTED | NOT_SENT)
    return "truth: two reports that contradict each other" if final & (final - 1) else ""


def broken_at_end(state: State) -> str:
    if not state.rec.report:
        return "lost: no report, and nothing more can happen"
    if not any(worker.at == "done" for worker in state.workers):
        return "lost: nobody handed the report to the result backend"
    return ""

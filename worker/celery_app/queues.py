"""The queues that workers consume, and their order."""

from worker.broker.envelope_check import DEFAULT_QUEUE

RECONCILE = "orders.reconcile"
"""The task that reconciles, and its queue."""
POSITIONS = "orders.positions"
"""The task of position queries, and its queue; also the queue of Celery's own helper tasks."""

QUEUES = ("orders.cancel", "orders.close", POSITIONS, "orders.withdraw", RECONCILE)
"""One a command, in the order they are served: what reduces risk first, queries next, money out after them, and last
the looking for unknowns, which asks a venue many questions."""


SERVED = (*QUEUES, DEFAULT_QUEUE)
"""Those that a worker takes from unless it is told otherwise: also where a sender's commands go who named no queue, to
answer them. Nothing is executed from there, so it comes last."""

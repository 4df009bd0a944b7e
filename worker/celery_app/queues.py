"""The names of the queues that workers consume, and the order in which they are served."""

from worker.broker.envelope_check import DEFAULT_QUEUE

RECONCILE = "orders.reconcile"
"""The task that reconciles, and its queue."""
POSITIONS = "orders.positions"
"""The task of position queries, and its queue; also the queue of Celery's own helper tasks."""

QUEUES = ("orders.cancel", "orders.close", "orders.submit", POSITIONS, "orders.withdraw", RECONCILE)
"""One queue for each task, in the order they are served: commands that reduce risk first, then new orders, then
queries, then withdrawals. Reconciles come last: one asks the venue a dozen questions and more, and must delay no
command."""

SERVED = (*QUEUES, DEFAULT_QUEUE)
"""The queues that a worker consumes by default. The last is Celery's default queue: commands whose sender named no
queue arrive there, and are answered with a refusal and not executed."""

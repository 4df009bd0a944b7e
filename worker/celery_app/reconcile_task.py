"""The Celery task that reconciles commands of unknown outcome."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery

from producers.printable import is_command_id
from worker.celery_app.queues import RECONCILE
from worker.celery_app.request import REQUEST
from worker.ledger.base import LedgerUnavailable, NoSuchCommand, StillOpen

if TYPE_CHECKING:
    from worker.reconciliation.reconciler import Reconciler


def register_reconcile(app: Celery, reconciler: Callable[[], "Reconciler"]) -> None:
    """Register ``orders.reconcile(command_id=None)``: one command, or every open unknown.

    Its result is a list of :class:`~worker.reconciliation.reconciler.Reconciled` as JSON objects. It fails with a
    ``LookupError`` for an id that the ledger does not know, ``RuntimeError`` for a command that is being executed, and
    ``ConnectionError`` while the ledger is away. Running it twice, or at several workers at once, is harmless.
    """

    def run(*arguments: Any, **named: Any) -> list[dict[str, Any]]:
        from worker.reconciliation.reconciler import as_json

        command_id = _command_id_of(*arguments, **named)
        try:
            return as_json(list(reconciler().all()) if command_id is None else [reconciler().one(command_id)])
        except NoSuchCommand as error:
            raise LookupError(str(error)) from None
        except StillOpen as error:
            raise RuntimeError(str(error)) from None
        except LedgerUnavailable as error:
            raise ConnectionError(str(error)) from None

    app.task(
        run,
        name=RECONCILE,
        acks_late=True,
        throws=(LookupError, RuntimeError, ConnectionError),
        Request=REQUEST,
        hidden=frozenset(),
        shared=False,
    )


def _command_id_of(*arguments: Any, **named: Any) -> str | None:
    """The command id in a message's arguments, None for every unknown. Python's own error for wrong arguments would
    quote them in the log.

    Raises:
        LookupError: there are other arguments, or no command can have that id.
    """
    if len(arguments) + len(named) > 1 or named.keys() - {"command_id"}:
        raise LookupError("it takes command_id, and nothing else")
    command_id = next(iter((*arguments, *named.values())), None)
    if command_id is not None and not is_command_id(command_id):
        raise LookupError("no command has such an id")
    return command_id

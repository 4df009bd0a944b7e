"""Reconciling as a Celery task, and how a settled report reaches those who wait for it."""

from collections.abc import Callable
from typing import Any

from celery import Celery, states

from producers.celery_app import OwnSettingsCelery
from producers.client import publisher_options
from producers.errors import error_for
from producers.printable import is_command_id
from producers.report import Report
from producers.settings import QueueSettings
from worker.celery_app.request import REQUEST
from worker.celery_app.results import use_report_backends
from worker.clock import SystemClock
from worker.ledger.base import LedgerUnavailable
from worker.ledger.redis import RedisLedger, connect
from worker.reconciliation.reconciler import NoSuchCommand, Reconciler, StillOpen, as_json
from worker.reconciliation.store import Casebook
from worker.settings import WorkerSettings
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.everstrike.queries import EverstrikeReads
from worker.venues.http.transport import Transport

RECONCILE = "orders.reconcile"
"""Task and queue. Its own queue, served last: a run asks the venue a dozen questions and more, one after the other, and
must keep no command waiting."""

BACKEND_SECONDS = 2.0


def register_reconcile(app: Celery, reconciler: Callable[[], Reconciler]) -> None:
    """Register ``orders.reconcile(command_id=None)``: one command, or every open unknown.

    Its result is a list of :class:`~worker.reconciliation.reconciler.Reconciled` as JSON objects. It fails with a
    ``LookupError`` for an id that the ledger does not know, ``RuntimeError`` for a command that is being executed, and
    ``ConnectionError`` while the ledger is away. Running it twice, or at several workers at once, is harmless.
    """

    def run(*arguments: Any, **named: Any) -> list[dict[str, Any]]:
        command_id = _asked(*arguments, **named)
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


def _asked(*arguments: Any, **named: Any) -> str | None:
    """Which command's reconcile a message asks for. Python's own refusal of arguments would quote them in the log."""
    if len(arguments) + len(named) > 1 or named.keys() - {"command_id"}:
        raise LookupError("it takes command_id, and nothing else")
    command_id = next(iter((*arguments, *named.values())), None)
    if command_id is not None and not is_command_id(command_id):
        raise LookupError("no command has such an id")
    return command_id


def build_reconciler(settings: WorkerSettings, publish: Callable[[Report], None]) -> Reconciler:
    """A reconciler over the real ledger and the real venues."""
    client = connect(settings.ledger_url, settings.ledger.timeout_seconds)
    ledger = RedisLedger(
        client, keep_ms=int(settings.ledger.keep_days * 86_400_000), journal_lines=settings.ledger.journal_lines
    )
    transport = Transport(settings.http_limits(), settings.http.ca_file or None)
    return Reconciler(
        ledger=ledger,
        casebook=Casebook(client),
        accounts=settings.account_map(),
        reads={Everstrike.name: EverstrikeReads(transport.exchange)},
        clock=SystemClock(),
        limits=settings.reconcile_limits(),
        publish=publish,
    )


def result_publisher(app: Celery) -> Callable[[Report], None]:
    """Stores a settled report as its task would have: SUCCESS, or FAILURE with the outcome's error.

    An ``unknown`` becomes anything, and nothing takes the place of a better word (:mod:`worker.celery_app.results`).

    Raises, when called:
        redis.RedisError, OSError, kombu.exceptions.KombuError: the backend is away.
    """

    def publish(report: Report) -> None:
        error = error_for(report)
        if error is None:
            app.backend.store_result(report.command_id, report.to_json(), states.SUCCESS)
        else:
            app.backend.mark_as_failure(report.command_id, error)

    return publish


def desk_app(settings: QueueSettings, keep_days: float = 7.0) -> Celery:
    """A Celery app for a person's program: it stores results and enqueues a reconcile, and fails soon."""
    app = OwnSettingsCelery("desk", broker_url=settings.broker_url, result_backend=settings.result_backend)
    use_report_backends(app)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_expires=keep_days * 86_400,
        redis_socket_timeout=BACKEND_SECONDS,
        redis_socket_connect_timeout=BACKEND_SECONDS,
        result_backend_transport_options={
            **app.conf.result_backend_transport_options,
            "retry_policy": {"max_retries": 1, "timeout": BACKEND_SECONDS},
        },
        broker_connection_timeout=BACKEND_SECONDS,
        broker_connection_max_retries=0,
        broker_transport_options=publisher_options(settings.broker_url),
    )
    return app

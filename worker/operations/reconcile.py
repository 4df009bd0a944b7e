"""Reconciliation for an operator, in this process or by a worker; and the report of what an operator has settled."""

from celery import Celery
from celery.exceptions import TimeoutError as NoResponse
from kombu.exceptions import KombuError

from producers.celery_app import OwnSettingsCelery
from producers.client import publisher_options
from producers.errors import UNREACHABLE, BrokerUnavailable, ReportPending
from producers.report import Report
from worker.celery_app.queues import RECONCILE
from worker.celery_app.results import result_publisher, use_report_backends
from worker.celery_app.seals import report_signer
from worker.ledger.base import NoSuchCommand, StillOpen
from worker.reconciliation.reconciler import Reconciled
from worker.settings import WorkerSettings


class NotPublished(Exception):
    """A report is settled in the ledger, and senders don't see it yet, because the result backend can't be reached."""


def publish_settled(settings: WorkerSettings, report: Report) -> None:
    """Store a report that an operator has settled as the command's result.

    Raises:
        NotPublished: the ledger has it all the same.
    """
    try:
        with operator_app(settings, settings.ledger.keep_days) as app:
            result_publisher(app)(report)
    except Exception as error:  # noqa: BLE001 - whatever the backend raises, the ledger has the report
        again = f"senders don't see it yet; to store it again: orders reconcile {report.command_id}"
        raise NotPublished(
            f"settled, but the result backend can't be reached ({type(error).__name__}): {again}"
        ) from None


def run_here(settings: WorkerSettings, command_id: str | None) -> list[Reconciled]:
    """Reconcile one command, or all unknown ones, in this process, with the accounts' keys.

    Raises:
        NoSuchCommand, StillOpen, LedgerUnavailable: see :class:`~worker.reconciliation.reconciler.Reconciler`.
    """
    # What builds a worker imports all of it, which reconciling by a worker does without.
    from worker.bootstrap import build_reconciler

    with operator_app(settings, settings.ledger.keep_days) as app:
        reconciler = build_reconciler(settings, result_publisher(app))
        return list(reconciler.all()) if command_id is None else [reconciler.one(command_id)]


def run_by_worker(settings: WorkerSettings, command_id: str | None, timeout: float) -> list[Reconciled]:
    """Let a worker reconcile, and wait for its answer for ``timeout`` seconds.

    Raises:
        NoSuchCommand, StillOpen: the worker's answer.
        ReportPending: there is no answer in time.
        BrokerUnavailable: the broker or the results cannot be reached, or the worker cannot reach the ledger.
    """
    name = command_id or "all"
    with operator_app(settings) as app:
        try:
            kwargs = {} if command_id is None else {"command_id": command_id}
            result = app.send_task(RECONCILE, kwargs=kwargs, queue=RECONCILE, retry=False)
            return [Reconciled(**row) for row in result.get(timeout=timeout)]
        except NoResponse:
            raise ReportPending(name, timeout, f"does a worker serve {RECONCILE}?") from None
        except LookupError as error:
            raise NoSuchCommand(str(error)) from None
        except RuntimeError as error:
            if error.__cause__ is not None:
                # Raised by Celery, which advises a restart: the results cannot be reached. A worker's has no cause.
                why = f"{UNREACHABLE}: {type(error.__cause__).__name__}"
                raise BrokerUnavailable([name], why) from None
            raise StillOpen(str(error)) from None
        except (KombuError, OSError) as error:  # also the ConnectionError of a worker that cannot reach the ledger
            raise BrokerUnavailable([name], str(error)[:120]) from None


def ask_worker(settings: WorkerSettings) -> None:
    """Ask a worker to reconcile every open unknown, and wait for nothing.

    Raises:
        BrokerUnavailable: the broker can't be reached.
    """
    with operator_app(settings) as app:
        try:
            app.send_task(RECONCILE, kwargs={}, queue=RECONCILE, retry=False, ignore_result=True)
        except (KombuError, OSError) as error:
            raise BrokerUnavailable(["all"], str(error)[:120]) from None


BACKEND_SECONDS = 2.0
"""Timeout of one step with the broker or the result backend."""


def operator_app(settings: WorkerSettings, keep_days: float = 7.0) -> Celery:
    """A Celery app for an operator's program: it stores results, enqueues reconciliations, and fails fast."""
    app = OwnSettingsCelery("operator", broker_url=settings.broker_url, result_backend=settings.result_backend)
    use_report_backends(app, sign=report_signer(settings.report_key_file))
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

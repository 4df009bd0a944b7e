"""The composition root: from the settings to ledger, venues, transport, executor, reconciler and Celery app.

``celery -A worker worker`` finds the app through :mod:`worker`. The executor, and with it the accounts' secrets, is
built at the first command, so that Flower and ``celery inspect`` never hold them.
"""

import logging
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from celery import Celery, signals
from celery.worker import state as worker_state

from producers import message_json
from producers.celery_app import OwnSettingsCelery
from producers.commands import Withdraw
from producers.intents import Intent, was_sent
from producers.report import Report
from worker import settings as worker_settings
from worker.assembly import build_accounts, build_ledger, connect_ledger
from worker.celery_app import heartbeat_file
from worker.celery_app.callbacks import allow_foreign_queues
from worker.celery_app.config import celery_config
from worker.celery_app.flower import is_flower, prepare_flower, use_stock_transport_name
from worker.celery_app.kept_messages import kept_publisher
from worker.celery_app.lifecycle import (
    freeze_startup_objects,
    keep_memory_private,
    refuse_to_start_if,
    restart_on_sighup,
    run_with_worker,
    share_arena,
)
from worker.celery_app.one_server import stored_results
from worker.celery_app.periodic import PeriodicWork, publisher
from worker.celery_app.pool import is_asked_for, use_own_threads
from worker.celery_app.queues import SERVED
from worker.celery_app.reconcile_task import register_reconcile
from worker.celery_app.remote_control import RestrictedControl, restrict_worker
from worker.celery_app.request import ignore_unsafe_options
from worker.celery_app.results import result_publisher, use_report_backends
from worker.celery_app.seals import Seals, report_signer
from worker.celery_app.sweeps import sweeps
from worker.celery_app.task_events import EventDispatcher
from worker.celery_app.tasks import register_commands
from worker.clock import SystemClock
from worker.execution.backoff import RetryLimits
from worker.execution.executor import Executor
from worker.execution.held_commands import HeldCommandPublisher
from worker.execution.policy.applied import PolicyRecords
from worker.execution.policy.ledger_server import ServerPolicy
from worker.execution.policy.withdrawals import WithdrawalPolicy
from worker.ledger.held_queue import HeldQueue
from worker.ledger.journal import Journal
from worker.library_logs import limit_library_logs
from worker.observability.setup import Instrumentation
from worker.settings import WorkerSettings
from worker.venues.base import Venue
from worker.venues.http.base import HttpLimits
from worker.venues.http.transport import Transport
from worker.venues.registry import REGISTRY, different_limits
from worker.webhooks.senders import WebhookSenders

if TYPE_CHECKING:
    from worker.reconciliation.reconciler import Reconciler

logger = logging.getLogger("orders.app")

HELD_SECONDS = 1.0
"""How often held commands that are due are looked for."""
PERIODIC_SECONDS = 10.0
"""How often the ledger's server is checked and lost commands are published again."""


def build_app(settings: WorkerSettings | None = None) -> Celery:
    """The Celery app. ``settings`` are read from the environment when none are given.

    Raises:
        SettingsError: naming each setting that is wrong.
    """
    settings = settings or worker_settings.load()
    message_json.use()
    limit_library_logs()
    app = OwnSettingsCelery("worker", broker_url=settings.broker_url, result_backend=settings.result_backend)
    app.set_current()
    app.conf.update(celery_config(settings))
    allow_foreign_queues(app)
    use_own_threads()
    _guard(app, settings)
    policy = build_policy(settings)
    withdrawals = build_withdrawal_policy(settings)
    seals = Seals(settings, connect_ledger(settings), lambda *seen: instrumentation.observer.badly_sealed(*seen))
    instrumentation = Instrumentation(app, settings, SERVED, withdrawals.state, seals.keys_usable)
    executor = _built_once(lambda: build_executor(settings, policy, withdrawals, instrumentation, app))
    register_commands(app, executor, settings.hidden_arguments)
    seals.check_commands_of(app)
    register_reconcile(app, cache(lambda: build_reconciler(settings, result_publisher(app))))
    periodic = _periodic_work(app, settings, [policy.refresh, withdrawals.refresh], instrumentation, seals)
    refuse_to_start_if(withdrawals.problem_at_start)
    refuse_to_start_if(seals.problem_at_start)
    connect, count, sign = partial(connect_ledger, settings), instrumentation.webhook_attempted, app.sign_report
    beside = periodic, _releases(app, settings), WebhookSenders(settings.webhooks, connect, count, sign)
    start: list[Callable[[], object]] = [partial(warn_about_accounts, settings), freeze_startup_objects]
    run_with_worker([*start, *(each.start for each in beside)], *(each.stop for each in beside))
    instrumentation.connect_signals()
    if settings.alive_file:
        heartbeat_file.touch_on_heartbeat(Path(settings.alive_file))
    return app


def _guard(app: Celery, settings: WorkerSettings) -> None:
    """Keep remote control, Flower, Celery's options and the result backend from ending a command without its report."""
    allowed = settings.allowed_remote_controls
    ledger = cache(lambda: connect_ledger(settings))
    sign = report_signer(settings.report_key_file)
    use_report_backends(app, lambda command_id: was_sent(ledger(), command_id), sign)
    app.events.dispatcher_cls = f"{EventDispatcher.__module__}:{EventDispatcher.__name__}"
    app.control_cls = type("RestrictedControl", (RestrictedControl,), {"allowed": allowed})
    restrict_worker(allowed, SERVED)
    signals.worker_init.connect(ignore_unsafe_options, weak=False)
    signals.worker_init.connect(keep_memory_private, weak=False)
    signals.worker_init.connect(share_arena, weak=False)
    restart_on_sighup()
    if is_flower():
        use_stock_transport_name(app)
        prepare_flower(allowed, settings.hidden_arguments)


def _built_once(build: Callable[[], Executor]) -> Callable[[], Executor]:
    """A function that builds the executor at its first call. The threads of a new worker may all call it at once, and
    must share one executor, which has the pool of connections to the venues."""
    lock, built = threading.Lock(), cache(build)

    def executor() -> Executor:
        with lock:
            return built()

    return executor


def warn_about_accounts(settings: WorkerSettings) -> None:
    """Warn that a worker without accounts executes nothing, because it looks as healthy as any other; and of accounts
    that share a key but not its rate limits."""
    if not settings.accounts:
        logger.warning("no account is configured: every command is refused. `orders doctor` says what to set")
    for sentence in different_limits(settings.accounts):
        logger.warning("%s", sentence)


def _periodic_work(
    app: Celery,
    settings: WorkerSettings,
    refresh: list[Callable[[], object]],
    instrumentation: Instrumentation,
    seals: Seals,
) -> PeriodicWork:
    publish = publisher(app)

    def publish_and_count(intent: Intent) -> None:
        seals.check_intent(intent)
        publish(intent)
        instrumentation.observer.republished(intent.command_id, intent.task.removeprefix("orders."))

    client = connect_ledger(settings)
    jobs = sweeps(app, client, build_ledger(settings, client), publish_and_count, settings.ledger.intent_seconds)
    interval_seconds = min(PERIODIC_SECONDS, settings.ledger.intent_seconds / 2)
    return PeriodicWork([*refresh, *jobs], interval_seconds)


def _releases(app: Celery, settings: WorkerSettings) -> PeriodicWork:
    held = HeldCommandPublisher(HeldQueue(connect_ledger(settings)), kept_publisher(app), HELD_SECONDS)

    def publish_due() -> None:
        # Withdrawals alone are held, and only the login of a worker that executes them need be able to publish one.
        if Withdraw.task_name() in app.amqp.queues.consume_from:
            held.publish_due()

    return PeriodicWork([publish_due], HELD_SECONDS)


def build_executor(
    settings: WorkerSettings,
    policy: ServerPolicy,
    withdrawals: WithdrawalPolicy,
    instrumentation: Instrumentation,
    app: Celery,
) -> Executor:
    """An executor over the real ledger, the real venues and the results of this app."""
    client = connect_ledger(settings)
    return Executor(
        ledger=instrumentation.time_ledger(build_ledger(settings, client, stored_results(settings, app, client))),
        venues=build_venues(settings),
        accounts=build_accounts(settings),
        transport=build_transport(settings),
        clock=SystemClock(),
        retry=RetryLimits(**settings.retry.model_dump()),
        stopping=_is_stopping,
        refusal=policy.refusal,
        ruling=withdrawals.ruling,
        observer=instrumentation.observer,
        hidden=settings.hidden_arguments,
        forget_never_sent=lambda command_id: app.backend.forget_never_sent(command_id),
    )


def _is_stopping() -> bool:
    # Celery sets these on SIGTERM and on SIGQUIT.
    return is_asked_for(worker_state.should_stop) or is_asked_for(worker_state.should_terminate)


def build_reconciler(settings: WorkerSettings, publish: Callable[[Report], None]) -> "Reconciler":
    """A reconciler over the real ledger and the real venues; ``publish`` is given each settled report."""
    # Most workers reconcile nothing, and have a megabyte less without it.
    from worker.reconciliation.reconciler import Reconciler
    from worker.reconciliation.store import ReconcileStore
    from worker.reconciliation.window import limits_of

    client = connect_ledger(settings)
    send, venues = build_transport(settings).send, build_venues(settings)
    return Reconciler(
        ledger=build_ledger(settings, client),
        store=ReconcileStore(client),
        journal=Journal(client),
        accounts=build_accounts(settings),
        reads={name: entry.reads(send) for name, entry in REGISTRY.items() if entry.reads},
        clock=SystemClock(),
        limits=limits_of(settings),
        publish=publish,
        look=lambda command, lookup, account: venues[account.venue].look(command, lookup, account, send),
    )


def build_policy(settings: WorkerSettings) -> ServerPolicy:
    """The policy that refuses commands while the ledger's server can't be trusted with them."""
    return ServerPolicy(
        connect_ledger(settings),
        need_disk=settings.ledger.withdraw_disk == "require",
        replicas=settings.ledger.replicas,
    )


def build_withdrawal_policy(settings: WorkerSettings) -> WithdrawalPolicy:
    """The withdrawal policy, with its file and the records of what was applied."""
    records = PolicyRecords(connect_ledger(settings))
    return WithdrawalPolicy(settings.policy.mode, settings.policy_file, records, SystemClock())


def build_venues(settings: WorkerSettings) -> dict[str, Venue]:
    """The venues by name, with the further refusals that the settings list for each: the built-in ones, and of ccxt
    those that an account names."""
    names = {*REGISTRY, *(account.venue for account in settings.accounts.values())}
    return {name: REGISTRY[name].build(settings.venues.refusals_of(name)) for name in sorted(names)}


def build_transport(settings: WorkerSettings) -> Transport:
    """The HTTP transport to the venues."""
    http = settings.http
    limits = HttpLimits(
        connect_timeout=http.connect_timeout_seconds,
        read_timeout=http.read_timeout_seconds,
        max_idle=http.max_idle_seconds,
        max_response_bytes=http.max_answer_bytes,
    )
    return Transport(limits, http.ca_file or None)

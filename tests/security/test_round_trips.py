"""What all the guards cost an undisturbed command at the server: nothing."""

from collections import Counter

from tests.security.test_seals import sealed
from tests.support.compose_stack import CLOSE, WITHDRAW, ComposeStack
from tests.support.redis_monitor import Monitor
from tests.support.seals import PAYROLL, new_id
from tests.support.stack import foreign_app
from tests.support.waiting import until

COMMANDS = {"orders.close": CLOSE, "orders.withdraw": WITHDRAW}
OF_THE_TEST = ("LPUSH", "GET", "ECHO")
"""What the test itself asks: it sends the command, and looks for its report."""


def asked(stack: ComposeStack, task: str) -> Counter[tuple[int, str]]:
    """What workers ask of the server about one command: the database and the command's name."""
    stack.venue.reset()
    command_id, kwargs = new_id(PAYROLL), COMMANDS[task]
    headers = sealed(PAYROLL, task, command_id, kwargs)
    with Monitor(stack.server.url(0)) as monitor:
        stack.send(task, command_id=command_id, kwargs=kwargs, headers=headers)
        assert stack.ended(command_id).outcome == ("accepted", "ok")
        stack.drained()
        stack.admin(0).echo(f"seen {command_id}")
        until(lambda: f"seen {command_id}" in monitor.text(), "all that the server was asked")
        entries = [each for each in list(monitor.commands) if each["client_type"] != "lua"]
    names = [(int(each["db"]), each["command"].split()[0].upper()) for each in entries if command_id in each["command"]]
    return Counter(name for name in names if name[1] not in OF_THE_TEST)


def test_seals_policy_and_signed_reports_cost_no_round_trip(stack: ComposeStack, guarded: ComposeStack) -> None:
    # Other tests may have switched events on, for which commands go Celery's way.
    with foreign_app(stack.server.urls["flower"], "disabled://") as app:
        assert app.control.disable_events(reply=True, timeout=60, limit=len(stack.workers))
    for task in COMMANDS:
        for each in (stack, guarded):
            # At first the server does not know the scripts, or a worker not yet that it may do all in one.
            until(lambda each=each, task=task: asked(each, task) == {(2, "EVALSHA"): 2}, "two round trips", 60)

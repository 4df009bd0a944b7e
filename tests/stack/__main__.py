"""Build, start, use, break and remove the stack; see the package. Exit code 0 when everything held.

`KEEP=1` leaves the images for the next run. `IMAGES=` with the settings that compose/offline/build prints uses those
images and builds none.
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.stack import checks, scenario
from tests.stack.compose_project import SERVICES, ComposeProject, StackError, need, run
from tests.stack.outcome import Outcome
from tests.support.containers import engine
from tests.support.node import ROOT

TOTAL_SECONDS = 9 * 60
BUILD_SECONDS = 8 * 60
TAG = os.environ.get("TAG", "stack-test")


def main() -> int:
    """The whole of it."""
    signal.signal(signal.SIGTERM, _interrupt)
    outcome = Outcome()
    scratch = Path(tempfile.mkdtemp(prefix="orders-stack-"))
    project: ComposeProject | None = None
    images: dict[str, str] = {}
    try:
        need("docker")
        images = _images(outcome)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(TOTAL_SECONDS)
        project = ComposeProject(f"orders-stack-{secrets.token_hex(3)}", scratch / "secrets", images)
        _run(project, outcome)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - told, and everything is removed
        outcome.failed.append(f"{type(error).__name__}: {error}")
        if not isinstance(error, StackError | TimeoutError | KeyboardInterrupt):
            traceback.print_exc()
    finally:
        signal.alarm(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what was made is removed, however often somebody presses Ctrl-C
        _clean(project, images, scratch, outcome)
    return _end(outcome)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _too_long(*_: object) -> None:
    raise StackError(f"not done within {TOTAL_SECONDS} s")


def _images(outcome: Outcome) -> dict[str, str]:
    """Build every image with no registry in reach; the settings that name them."""
    text = os.environ.get("IMAGES")
    if not text:
        outcome.step("building images with no registry in reach: compose/offline/build")
        text = run([str(ROOT / "compose/offline/build")], seconds=BUILD_SECONDS, TAG=TAG).stdout
    found = dict(line.split("=", 1) for line in text.split() if "=" in line)
    for name, image in found.items():
        size = engine().images.get(image).attrs["Size"] / 2**20
        outcome.check("image", True, f"{image}, {size:.0f} MiB ({name})")
    return found


def _run(project: ComposeProject, outcome: Outcome) -> None:
    outcome.step(f"starting the stack with {project.version}")
    run([str(ROOT / "compose/prepare"), "--sandbox"], SECRETS=str(project.secrets))
    keys = scenario.Keys()
    keys.write(project.secrets)
    project.up(*SERVICES)
    for service in SERVICES:
        project.until_healthy(service)
        outcome.check(service, True, "is healthy")
    project.up("--no-recreate", "--scale", "worker=3", "worker")
    project.until_healthy("worker", 3)
    outcome.check("worker", True, "--scale worker=3: three are healthy")
    words = "is not started: its image is its makers' alone; its dashboard's queries are run by make alerts-test"
    outcome.note("grafana", words)

    outcome.step("how it is locked up, and who reaches whom")
    checks.containers_are_confined(project, outcome)
    checks.networks_are_parted(project, outcome)
    checks.logins_are_confined(project, outcome)

    outcome.step("commands from outside")
    helper = scenario.Helper(project)
    helper.ask("accounts", pairs=keys.pairs, withdraw_keys=keys.withdraw_keys)
    scenario.each_command(project, outcome)
    _check_services(project, outcome)

    outcome.step("under load: a worker is killed, the server is cut off")
    scenario.outage_under_load(project, helper, outcome, keys)
    outcome.step("an upgrade under load, a graceful stop, and a server that is killed")
    scenario.upgrade_under_load(project, helper, outcome, keys)
    scenario.graceful_stop(project, helper, outcome)
    scenario.server_restart(project, outcome)

    outcome.step("afterwards")
    _check_services(project, outcome)
    checks.no_login_was_refused(project, outcome)
    checks.no_secret_is_shown(project, outcome, keys.secrets)


def _check_services(project: ComposeProject, outcome: Outcome) -> None:
    checks.doctor_finds_no_fault(project, outcome)
    checks.desk_wants_its_login(project, outcome)
    checks.flower_only_shows(project, outcome, workers=4)
    checks.prometheus_finds_everything(project, outcome, workers=4)


def _clean(project: ComposeProject | None, images: dict[str, str], scratch: Path, outcome: Outcome) -> None:
    outcome.step("removing everything")
    if project is not None:
        if outcome.failed:
            print(project.log_tails(), file=sys.stderr)
        project.remove()
    if os.environ.get("KEEP", "0") in ("", "0") and not os.environ.get("IMAGES"):
        names = sorted({*images.values(), f"orders-debian:{TAG}"})
        run([need("docker"), "rmi", "-f", *names], check=False)
        # What a build leaves without a name; nobody else's carries this label.
        ours = "label=org.opencontainers.image.title=order-execution-worker-build"
        run([need("docker"), "image", "prune", "-f", "--filter", ours], check=False)
    shutil.rmtree(scratch, ignore_errors=True)


def _end(outcome: Outcome) -> int:
    counts = ", ".join(f"{service} {count}" for service, count in sorted(outcome.services.items()))
    print(f"\nlooked at: {counts}")
    if outcome.failed:
        print(f"\n{len(outcome.failed)} FAILED\n" + "\n".join(outcome.failed))
        return 1
    print("everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())

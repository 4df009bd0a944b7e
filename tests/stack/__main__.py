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
from tests.stack.compose_project import ROOT, SERVICES, Stack, StackError, docker, need, run
from tests.stack.outcome import Told

TOTAL_SECONDS = 9 * 60
BUILD_SECONDS = 8 * 60


def main() -> int:
    """The whole of it."""
    signal.signal(signal.SIGTERM, _interrupt)
    told = Told()
    scratch = Path(tempfile.mkdtemp(prefix="orders-stack-"))
    stack: Stack | None = None
    images: dict[str, str] = {}
    try:
        need("docker")
        images = _images(told)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(TOTAL_SECONDS)
        stack = Stack(f"orders-stack-{secrets.token_hex(3)}", scratch / "secrets", images)
        _run(stack, told)
    except (StackError, KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - told, and everything is removed
        told.failed.append(f"{type(error).__name__}: {error}")
        if not isinstance(error, StackError | KeyboardInterrupt):
            traceback.print_exc()
    finally:
        signal.alarm(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what was made is removed, however often somebody presses Ctrl-C
        _clean(stack, images, scratch, told)
    return _end(told)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _too_long(*_: object) -> None:
    raise StackError(f"not done within {TOTAL_SECONDS} s")


def _images(told: Told) -> dict[str, str]:
    """Build every image with no registry in reach; the settings that name them."""
    if given := os.environ.get("IMAGES"):
        told.step("images are given")
        text = given
    else:
        told.step("building images with no registry in reach: compose/offline/build")
        tag = os.environ.get("TAG", "stack-test")
        text = run([str(ROOT / "compose/offline/build")], env={**os.environ, "TAG": tag}, seconds=BUILD_SECONDS).stdout
    found = dict(line.split("=", 1) for line in text.split() if "=" in line)
    for name, image in found.items():
        size = int(docker("inspect", "-f", "{{.Size}}", image)) / 2**20
        told.check("image", True, f"{image}, {size:.0f} MiB ({name})")
    return found


def _run(stack: Stack, told: Told) -> None:
    told.step(f"starting the stack with {stack.compose_version}")
    run([str(ROOT / "compose/prepare"), "--sandbox"], env={**os.environ, "SECRETS": str(stack.secrets)})
    keys = scenario.Keys()
    keys.write(stack.secrets)
    stack.up(*SERVICES)
    for service in SERVICES:
        stack.healthy(service)
        told.check(service, True, "is healthy")
    stack.up("--no-recreate", "--scale", "worker=3", "worker")
    stack.healthy("worker", 3)
    told.check("worker", True, "--scale worker=3: three are healthy")

    told.note(
        "grafana", "is not started: its image is its makers' alone; its dashboard's queries are run by make alerts-test"
    )

    told.step("how it is locked up, and who reaches whom")
    checks.locked_up(stack, told)
    checks.networks(stack, told)
    checks.server(stack, told)

    told.step("commands from outside")
    helper = scenario.Helper(stack)
    known = [list(pair) for pair in (*keys.trade.values(), *keys.withdraw.values())]
    helper.ask("accounts", {"keys": known, "funds": [key for key, _ in keys.withdraw.values()]})
    scenario.commands(stack, told)
    checks.doctor(stack, told)
    checks.flower(stack, told, workers=4)
    checks.prometheus(stack, told, workers=4)

    told.step("under load: a worker is killed, the server is cut off")
    scenario.under_load(stack, helper, told, keys)
    told.step("an upgrade under load, a graceful stop, and a server that is killed")
    scenario.upgrade(stack, helper, told, keys)
    scenario.graceful_stop(stack, helper, told)
    scenario.server_restart(stack, told)

    told.step("afterwards")
    checks.doctor(stack, told)
    checks.flower(stack, told, workers=4)
    checks.prometheus(stack, told, workers=4)
    checks.refusals(stack, told)
    checks.secrets(stack, told, keys.secrets)


def _clean(stack: Stack | None, images: dict[str, str], scratch: Path, told: Told) -> None:
    told.step("removing everything")
    if stack is not None:
        if told.failed:
            print(stack.tails(), file=sys.stderr)
        stack.remove()
    if os.environ.get("KEEP", "0") in ("", "0") and not os.environ.get("IMAGES"):
        tag = os.environ.get("TAG", "stack-test")
        names = {*images.values(), f"orders-debian:{tag}"}
        run([need("docker"), "rmi", "-f", *sorted(names)], check=False)
        # What a build leaves without a name; nobody else's carries this label.
        ours = "label=org.opencontainers.image.title=order-execution-worker-build"
        run([need("docker"), "image", "prune", "-f", "--filter", ours], check=False)
    shutil.rmtree(scratch, ignore_errors=True)


def _end(told: Told) -> int:
    looked = ", ".join(f"{service} {count}" for service, count in sorted(told.services.items()))
    print(f"\nlooked at: {looked}")
    if told.failed:
        print(f"\n{len(told.failed)} FAILED\n" + "\n".join(told.failed))
        return 1
    print("everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())

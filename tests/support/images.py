"""The images of container-backed nodes: `python -m tests.support.images COMMAND...` builds them and runs the command
with their names. `IMAGES`, the settings that compose/offline/build prints, uses those and builds none.
"""

import os
import shutil
import subprocess
import sys

from tests.support.node import ROOT


def main(command: list[str]) -> int:
    """Exit code of the command, or 1 when there is no docker."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "version"], capture_output=True, check=False).returncode:
        sys.stderr.write("make test-docker needs docker, and nobody answers `docker version`\n")
        return 1
    environment = {**os.environ, "TAG": os.environ.get("TAG", "stack-test")}
    text = (
        os.environ.get("IMAGES")
        or subprocess.run(
            [str(ROOT / "compose" / "offline" / "build")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    )
    images = dict(line.split("=", 1) for line in text.split() if "=" in line)
    names = {
        "ORDERS_TEST_NODES": "docker",
        "ORDERS_TEST_WORKER_IMAGE": images["ORDERS_IMAGE"],
        "ORDERS_TEST_SERVER_IMAGE": images["SERVER_IMAGE"],
    }
    return subprocess.run(command, env={**os.environ, **names}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

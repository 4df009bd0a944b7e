"""`python -m tests.support.images COMMAND...` builds the images of container nodes and runs a command with their names.

`IMAGES`, the settings that compose/offline/build prints, uses those images and builds none.
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
    settings = os.environ.get("IMAGES")
    if not settings:
        environment = {"TAG": "stack-test", **os.environ}
        build = ROOT / "compose" / "offline" / "build"
        settings = subprocess.run([build], env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    images = dict(line.split("=", 1) for line in settings.split() if "=" in line)
    names = {
        "ORDERS_TEST_NODES": "docker",
        "ORDERS_TEST_WORKER_IMAGE": images["ORDERS_IMAGE"],
        "ORDERS_TEST_SERVER_IMAGE": images["SERVER_IMAGE"],
    }
    return subprocess.run(command, env={**os.environ, **names}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Creates a virtual environment with the packages of a lock file and this project, and shows its progress.

``python .ci/environment.py FOLDER LOCK``. Pip's output goes to FOLDER/pip.log, whose end is printed when pip fails.
"""

import subprocess
import sys
import time
import venv
from pathlib import Path

EVERY_SECONDS = 5.0
"""How often a line is printed when there is no terminal."""
PROJECTS = ("-e", "./producers", "-e", ".")
"""The two distributions of this tree, as editable installations."""
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off")


class Progress:
    """One line that is overwritten at a terminal; otherwise a new line now and then."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._printed_at = 0.0

    def show(self, activity: str, *, always: bool = False) -> None:
        """Print what is being done; with ``always`` on a line of its own in any case."""
        elapsed = time.monotonic() - self._began
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K  {elapsed:3.0f} s  {activity[:68]}" + "\n" * always)
        elif always or elapsed - self._printed_at >= EVERY_SECONDS:
            self._printed_at = elapsed
            sys.stdout.write(f"  {elapsed:3.0f} s  {activity}\n")
        sys.stdout.flush()


def main(folder: Path, lock: Path) -> int:
    """Create or update the environment; returns pip's exit code."""
    progress, python = Progress(), folder / "bin" / "python"
    packages = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Setting up {folder} with Python {version} and {packages} packages, once: a minute or two …", flush=True)
    if not (python.exists() and python.with_name("pip").exists()):  # ensurepip writes pip last
        progress.show("an empty environment", always=True)
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    log = folder / "pip.log"
    log.unlink(missing_ok=True)
    code = pip([str(python), *PIP, "--require-hashes", "--no-deps", "-r", str(lock)], log, packages, progress)
    if code:
        return code
    progress.show("this project", always=True)
    # The build requirements are in the lock file, so nothing unpinned is downloaded.
    return pip([str(python), *PIP, "--no-deps", "--no-build-isolation", *PROJECTS], log, 0, progress)


def pip(command: list[str], log: Path, packages: int, progress: Progress) -> int:
    """Run pip and show which of the ``packages`` it is working on; returns its exit code."""
    found = 0
    with (
        log.open("a", encoding="utf-8") as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,  # noqa: S603
    ):
        for line in process.stdout or ():
            output.write(line)
            first, _, rest = line.strip().partition(" ")
            if first in ("Collecting", "Requirement") and found < packages:
                found += 1
                progress.show(f"{found} of {packages}: {rest.partition(' (')[0]}")
            elif first == "Installing" and packages:
                progress.show("installing them", always=True)
    if process.returncode:
        tail = log.read_text(encoding="utf-8").splitlines()[-15:]
        sys.stderr.write("\n".join(["", *tail, f"pip failed; its whole output is in {log}", ""]))
    return process.returncode


if __name__ == "__main__":
    try:
        raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
    except KeyboardInterrupt:
        raise SystemExit("\ninterrupted; run the same command again to continue") from None

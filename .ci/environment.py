"""Creates a virtual environment with the packages of a lock file and this project, and shows its progress.

``python .ci/environment.py FOLDER LOCK``. Pip's output goes to FOLDER/pip.log, whose end is printed when pip fails.
"""

import subprocess
import sys
import threading
import time
import venv
from pathlib import Path
from typing import Self

EVERY_SECONDS = 5.0
"""How often a line is printed when there is no terminal."""
TICK_SECONDS = 1.0
"""How often the line at a terminal gets a new time."""
PROJECTS = ("-e", "./producers", "-e", ".")
"""The two distributions of this tree, as editable installations."""
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off")


class Progress:
    """One line that is overwritten at a terminal, every second; otherwise a new line now and then. A context manager:
    pip is silent for a long time when it installs, and that must not look as if nothing happened."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._printed_at = 0.0
        self._activity = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._ticker.join()
        if sys.stdout.isatty():
            sys.stdout.write("\n")

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self._print(always=False)

    def show(self, activity: str, *, always: bool = False) -> None:
        """Print what is being done; with ``always`` even if something was printed just before."""
        self._activity = activity
        self._print(always=always)

    def _print(self, *, always: bool) -> None:
        with self._lock:
            elapsed = time.monotonic() - self._began
            if sys.stdout.isatty():
                sys.stdout.write(f"\r\033[K  {elapsed:3.0f} s  {self._activity[:68]}")
            elif always or elapsed - self._printed_at >= EVERY_SECONDS:
                self._printed_at = elapsed
                sys.stdout.write(f"  {elapsed:3.0f} s  {self._activity}\n")
            sys.stdout.flush()


def main(folder: Path, lock: Path) -> int:
    """Create or update the environment; returns pip's exit code."""
    python = folder / "bin" / "python"
    packages = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Setting up {folder} with Python {version} and {packages} packages, once: a minute or two …", flush=True)
    with Progress() as progress:
        return set_up(folder, python, lock, packages, progress)


def set_up(folder: Path, python: Path, lock: Path, packages: int, progress: Progress) -> int:
    """Install the packages of the lock file and this project; returns pip's exit code."""
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

"""An environment with what a lock file names and this project, made by a program that says how far it is.

``python .ci/environment.py FOLDER LOCK``. What pip prints is kept in FOLDER/pip.log; its end is shown when it fails.
"""

import subprocess
import sys
import time
import venv
from pathlib import Path

EVERY_SECONDS = 5.0
"""How often a line is printed where no terminal shows one that changes."""
PROJECTS = ("-e", "./producers", "-e", ".")
"""The two distributions of this tree, importable from where they are."""
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off")


class Progress:
    """One line that changes at a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told = 0.0

    def show(self, what: str, *, stays: bool = False) -> None:
        """Say what is being done. What ``stays`` is printed in any case."""
        elapsed = time.monotonic() - self._began
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K  {elapsed:3.0f} s  {what[:68]}" + "\n" * stays)
        elif stays or elapsed - self._told >= EVERY_SECONDS:
            self._told = elapsed
            sys.stdout.write(f"  {elapsed:3.0f} s  {what}\n")
        sys.stdout.flush()


def main(folder: Path, lock: Path) -> int:
    """Make the environment, or bring it up to date; returns pip's exit code."""
    progress, python = Progress(), folder / "bin" / "python"
    packages = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Setting up {folder} with Python {version} and {packages} packages, once: a minute or two …", flush=True)
    if not (python.exists() and python.with_name("pip").exists()):  # the latter comes last
        progress.show("an empty environment", stays=True)
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    log = folder / "pip.log"
    log.unlink(missing_ok=True)
    code = pip([str(python), *PIP, "--require-hashes", "--no-deps", "-r", str(lock)], log, packages, progress)
    if code:
        return code
    progress.show("this project", stays=True)
    # Everything that the build needs is in the lock file, so nothing unpinned is fetched for it.
    return pip([str(python), *PIP, "--no-deps", "--no-build-isolation", *PROJECTS], log, 0, progress)


def pip(command: list[str], log: Path, packages: int, progress: Progress) -> int:
    """Run pip and tell which of so many packages it is about; returns its exit code."""
    found = 0
    with (
        log.open("a", encoding="utf-8") as kept,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,  # noqa: S603
    ):
        for line in process.stdout or ():
            kept.write(line)
            first, _, rest = line.strip().partition(" ")
            if first in ("Collecting", "Requirement") and found < packages:
                found += 1
                progress.show(f"{found} of {packages}: {rest.partition(' (')[0]}")
            elif first == "Installing" and packages:
                progress.show("installing them", stays=True)
    if process.returncode:
        words = log.read_text(encoding="utf-8").splitlines()[-15:]
        sys.stderr.write("\n".join(["", *words, f"pip failed; all that it said is in {log}", ""]))
    return process.returncode


if __name__ == "__main__":
    try:
        raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
    except KeyboardInterrupt:
        raise SystemExit("\ninterrupted; the same command goes on") from None

"""The program that `orders worker` becomes: Celery's, independent of the files in the working directory.

``python -m celery`` looks for every module in the working directory first, and so does Celery for the app of ``-A``. A
``worker.py``, ``redis.py`` or ``celery.py`` there would be imported in place of the installed package. This is run as a
file and not with ``-m``, so that Celery can restart itself by its ``sys.argv`` (SIGHUP).
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve()

UNUSED: dict[str, Any] = {
    "click_plugins": SimpleNamespace(with_plugins=lambda _: lambda group: group),
    "click_repl": SimpleNamespace(register_repl=lambda _: None),
}
"""What Celery's program imports for commands that a worker is none of, in short: Flower (and Tornado) as a plugin, and
the editor of ``celery amqp``'s prompt. They take 12 MB of a process (docs/benchmarks.md)."""


def program() -> Any:
    """Celery's program without :data:`UNUSED`."""
    unused = {name: stub for name, stub in UNUSED.items() if name not in sys.modules}
    sys.modules.update(unused)
    try:
        from celery.bin.celery import celery
    finally:
        for name in unused:
            del sys.modules[name]
    return celery


def main() -> None:
    """Import this package before Celery searches the working directory, and run Celery's program."""
    # Python puts the script's folder first, but its modules are not top-level ones.
    sys.path[:] = [entry for entry in sys.path if entry != str(HERE.parent)]
    root = str(HERE.parents[2])
    if root not in sys.path:
        sys.path.append(root)
    celery = program()

    import worker  # noqa: F401 - from here on it is in sys.modules, where Celery finds it

    # Like celery.bin.celery.main, but with a program name that can be typed.
    celery(auto_envvar_prefix="CELERY", prog_name="celery -A worker")


if __name__ == "__main__":
    main()

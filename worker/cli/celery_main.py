"""The program that `orders worker` becomes: Celery's, independent of the files in the working directory.

``python -m celery`` looks for every module in the working directory first, and so does Celery for the app of ``-A``. A
``worker.py``, ``redis.py`` or ``celery.py`` there would be imported in place of the installed package. This is run as a
file and not with ``-m``, so that Celery can restart itself by its ``sys.argv`` (SIGHUP).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()


def main() -> None:
    """Import this package before Celery searches the working directory, and run Celery's program."""
    # Python puts the script's folder first, but its modules are not top-level ones.
    sys.path[:] = [entry for entry in sys.path if entry != str(HERE.parent)]
    root = str(HERE.parents[2])
    if root not in sys.path:
        sys.path.append(root)
    from celery.bin.celery import celery

    import worker  # noqa: F401 - from here on it is in sys.modules, where Celery finds it

    # Like celery.bin.celery.main, but with a program name that can be typed.
    celery(auto_envvar_prefix="CELERY", prog_name="celery -A worker")


if __name__ == "__main__":
    main()

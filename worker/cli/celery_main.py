"""What `orders worker` becomes: Celery's program, whatever lies in the folder that it is started in.

``python -m celery`` looks for every module in the working directory first, and Celery does for the app of ``-A``: a
``worker.py``, ``redis.py`` or ``celery.py`` there would take the place of what is installed. A file, and not ``-m``,
so that Celery can start itself again by its ``sys.argv`` (SIGHUP).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()


def main() -> None:
    """Find this package before anything else is looked for, and become Celery."""
    # Python puts the script's own folder first, whose modules are no top-level ones.
    sys.path[:] = [entry for entry in sys.path if entry != str(HERE.parent)]
    root = str(HERE.parents[2])
    if root not in sys.path:
        sys.path.append(root)
    from celery.bin.celery import celery

    import worker  # noqa: F401 - found from here on, also by Celery

    # As celery.bin.celery.main does, by a name that can be typed.
    celery(auto_envvar_prefix="CELERY", prog_name="celery -A worker")


if __name__ == "__main__":
    main()

"""The order execution worker: ``celery -A worker worker``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

_root = str(Path(__file__).resolve().parents[1])
# Celery puts the working directory first on sys.path while it imports this package, and removes it before it gets the
# app. So `producers` is imported now, from beside this package, whose folder is on the path for that import alone: no
# other module of that folder may take the place of an installed one.
sys.path.insert(0, _root)
import producers  # noqa: E402, F401

sys.path.remove(_root)

_app: list["Celery"] = []


def __getattr__(name: str) -> Any:
    """Build the Celery app when ``celery -A worker`` asks for it, and not when a module of the package is imported."""
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _app:
        from producers.settings import SettingsError
        from worker.bootstrap import build_app

        try:
            _app.append(build_app())
        except SettingsError as error:
            # Somebody at a terminal reads this: one line that says what to correct, and no traceback.
            raise SystemExit(f"the settings can't be used: {error}") from None
    return _app[0]

"""The order execution worker: ``celery -A worker worker``."""

from typing import TYPE_CHECKING, Any

# Celery takes the working directory off sys.path before it asks for the app: in a checkout that is not installed this
# is the moment in which the package beside this one can be found.
import producers  # noqa: F401

if TYPE_CHECKING:
    from celery import Celery

_app: list["Celery"] = []


def __getattr__(name: str) -> Any:
    """Build the Celery app when ``celery -A worker`` asks for it, and not when a module of the package is imported."""
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _app:
        from producers.settings import SettingsError
        from worker.app import build_app

        try:
            _app.append(build_app())
        except SettingsError as error:
            # A person started this: one line that says what to mend, and no traceback.
            raise SystemExit(f"the settings can't be used: {error}") from None
    return _app[0]

"""A new file with a secret in it."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a new file that its owner alone can read and write.

    Raises:
        OSError: it exists, ``/dev/stdout`` and whatever a link points to included, or it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            os.fchmod(file.fileno(), 0o600)  # whatever the umask
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise

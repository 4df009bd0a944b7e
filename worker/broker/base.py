"""What a broker refuses to do with commands, and why."""

from click import ClickException

HALT = "`orders halt` keeps what has not begun from being sent"


PURGE = f"refused: purging a queue would throw commands away without a report; {HALT}"


class Refused(ClickException):
    """This is not done by remote control; the message says what to do instead. Celery's command line, which Click
    runs, shows it in one line."""

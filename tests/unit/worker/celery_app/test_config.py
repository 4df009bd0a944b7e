"""The pool that a command line asks for is the pool that runs."""

import pytest

from worker.celery_app.config import chosen_pool


@pytest.mark.parametrize("words", ["-P prefork", "--pool prefork", "-Pprefork", "--pool=prefork"])
def test_prefork_is_heeded(words: str) -> None:
    """Celery takes this word for its own default, and would start threads without a word."""
    assert chosen_pool(["celery", "-A", "worker", "worker", *words.split(), "-c", "4"]) == "prefork"


@pytest.mark.parametrize("words", ["", "-P threads", "-P solo", "-Q prefork", "-n prefork@%h"])
def test_everything_else_is_celerys(words: str) -> None:
    """It reads the option itself."""
    assert chosen_pool(["celery", "-A", "worker", "worker", *words.split()]) == "threads"

"""The output of `.ci/environment.py`: its progress, and the reason if it fails."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.ci_scripts import ci_script
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]

PIP = """#!/bin/sh
case "$*" in *--require-hashes*)
  echo 'Collecting amqp==5.4.2 (from -r requirements.lock (line 3))'
  echo '  Downloading amqp-5.4.2.whl (50 kB)'
  echo 'Collecting celery==5.6 (from -r requirements.lock (line 7))'
  echo 'Installing collected packages: amqp, celery'
  while [ -e "$(dirname "$0")/slow" ]; do sleep 0.05; done
  if [ -e "$(dirname "$0")/fails" ]; then echo 'ERROR: the index is away'; exit 7; fi
esac
"""


@pytest.fixture
def environment() -> ModuleType:
    """``.ci/environment.py`` as a module."""
    return ci_script("environment")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An environment whose Python prints what pip prints."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP)
    python.chmod(0o755)
    python.with_name("pip").touch()
    (tmp_path / "lock").write_text("amqp==5.4.2 \\\n    --hash=sha256:00\ncelery==5.6\n")
    return tmp_path / "venv"


def test_each_stage_is_printed(
    environment: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the elapsed time, as plain lines if there is no terminal."""
    monkeypatch.setattr(environment, "EVERY_SECONDS", 0.0)
    assert environment.main(folder, folder.parent / "lock") == 0
    lines = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == ["1 of 2: amqp==5.4.2", "2 of 2: celery==5.6", "installing them", "this project"]


def test_the_output_of_pip_is_printed_when_it_fails(
    environment: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its exit code and its last lines; the path of the whole output is named."""
    (folder / "bin" / "fails").touch()
    assert environment.main(folder, folder.parent / "lock") == 7
    printed = capsys.readouterr()
    assert "ERROR: the index is away" in printed.err
    assert str(folder / "pip.log") in printed.err
    assert "this project" not in printed.out


def test_pip_that_says_nothing_does_not_look_as_if_nothing_happened(
    environment: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last activity is printed again and again, with the time."""
    monkeypatch.setattr(environment, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(environment, "TICK_SECONDS", 0.01)
    slow, printed = folder / "bin" / "slow", []
    slow.touch()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(environment.main, folder, folder.parent / "lock")

        def often() -> bool:
            printed.append(capsys.readouterr().out)
            return "".join(printed).count("installing them") > 3

        try:
            until(often, "it was printed again", 60)
        finally:
            slow.unlink()
        assert running.result(60) == 0

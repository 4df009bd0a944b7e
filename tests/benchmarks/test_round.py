"""A tiny round with real processes, so that the harness is known to work before somebody waits an hour for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.processes import ROOT

pytestmark = pytest.mark.integration

SMALL = ["--contenders", "ours", "--latencies", "0", "--seconds", "0.5", "--peers", "/nowhere"]


def program(*arguments: str) -> list[str]:
    """The benchmarks' command line."""
    return [sys.executable, "-m", "tests.benchmarks", *SMALL, *arguments]


def test_a_tiny_round(tmp_path: Path) -> None:
    """The figures come from real commands: each reached the venue once, signed, and none took less than no time."""
    told_in = tmp_path / "found.json"
    done = subprocess.run(
        program("--parts", "latency,throughput", "--json", str(told_in)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records: list[dict[str, Any]] = json.loads(told_in.read_text())["records"]
    parts = {each["part"]: each for each in records}
    assert set(parts) == {"latency", "throughput", "memory"}, done.stderr[-3000:]
    assert parts["latency"]["count"] == 100
    assert 0 < parts["latency"]["wire_p50"] <= parts["latency"]["wire_p99"] <= parts["latency"]["wire_max"]
    assert parts["throughput"]["whole"]
    assert parts["throughput"]["rate"] > 0
    assert parts["throughput"]["round_trips"] > 2, "begin and settle at the least"
    assert parts["throughput"]["worker_cpu_ms"] > 0
    assert parts["throughput"]["age_max"] >= 0, "signed before it came"
    assert "| ours@threads:16x2 |" in done.stdout


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    """Workers that outlive an interrupted benchmark would slow down the next; whoever waits gets what was measured."""
    told_in = tmp_path / "found.json"
    command = program("--parts", "throughput", "--rounds", "50", "--json", str(told_in))
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    for line in run.stderr:
        if "throughput:" in line:
            break
    os.kill(run.pid, signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "| ours@threads:16x2 |" in said
    assert json.loads(told_in.read_text())["records"]

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

SMALL = ["--contenders", "ours", "--latencies", "0", "--seconds", "0.5", "--peers", "/nowhere", "--rounds", "50"]


def test_a_tiny_round_and_ctrl_c(tmp_path: Path) -> None:
    """The figures come from real commands, each signed and sent once; and whoever has seen enough gets what was
    measured so far and keeps no worker that would slow down the next run (the suite fails when a process is left)."""
    told_in = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.benchmarks", *SMALL]
    run = subprocess.Popen(
        [*command, "--parts", "latency,throughput", "--json", str(told_in)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    heard = []
    for line in run.stderr:
        heard.append(line)
        if " memory:" in line:
            break
    os.kill(run.pid, signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, "".join(heard)[-3000:]
    assert "| ours@threads:16x2 |" in said
    records: list[dict[str, Any]] = json.loads(told_in.read_text())["records"]
    first = {each["part"]: each for each in records if each["round"] == 1}
    assert set(first) == {"latency", "throughput", "memory"}
    light, filled = first["latency"], first["throughput"]
    assert light["count"] == 100
    assert 0 < light["wire_p50"] <= light["wire_p99"] <= light["wire_max"]
    assert filled["whole"]
    assert filled["rate"] > 0
    assert filled["round_trips"] > 2, "begin and settle at the least"
    assert filled["worker_cpu_ms"] > 0
    assert filled["age_max"] >= 0, "signed before it came"

"""A small round with real processes, so that the harness is known to work before somebody waits an hour for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import ROOT

pytestmark = pytest.mark.integration

SMALL = ["--contenders", "ours", "--latencies", "0", "--seconds", "0.5", "--light-seconds", "1", "--rounds", "50"]


def test_a_small_round_and_ctrl_c(tmp_path: Path) -> None:
    """The figures come from real commands, each signed and sent once. Whoever has seen enough gets what was measured
    so far and keeps no worker that would slow down the next run (the suite fails when a process is left)."""
    found = tmp_path / "found.json"
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.benchmarks",
            *SMALL,
            "--parts",
            "latency,throughput",
            "--peers",
            "/nowhere",
            "--json",
            str(found),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    progress = []
    for line in run.stderr:
        progress.append(line)
        if " latency:" in line:
            break
    os.kill(run.pid, signal.SIGINT)
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 130, "".join(progress)[-3000:]
    assert "| ours@threads:16x2 |" in printed
    records = {each["part"]: each for each in json.loads(found.read_text())["records"] if each["round"] == 1}
    assert set(records) == {"latency", "throughput", "memory"}
    light, filled = records["latency"], records["throughput"]
    assert light["count"] == 100
    assert light["fallback_takes"] == 0
    assert 0 < light["wire_p50_ms"] <= light["wire_p99_ms"] <= light["wire_max_ms"]
    assert filled["whole"]
    assert filled["rate"] > 0
    assert filled["round_trips"] >= 1, "what it costs is counted"
    assert filled["worker_cpu_ms"] > 0
    assert filled["age_max_ms"] >= 0, "signed before it came"

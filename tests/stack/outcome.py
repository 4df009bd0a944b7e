"""The test's output: a line for each thing that was looked at, with the service that it is about."""

import time
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What was found so far."""

    failed: list[str] = field(default_factory=list)
    services: dict[str, int] = field(default_factory=dict)
    """How many things were looked at, by service."""
    started: float = field(default_factory=time.monotonic)

    def step(self, words: str) -> None:
        """Say what begins now."""
        print(f"\n[{time.monotonic() - self.started:4.0f} s] {words}", flush=True)

    def check(self, service: str, holds: object, words: str, otherwise: object = "") -> None:
        """Say that one thing about a service holds, or what was there instead."""
        self.services[service] = self.services.get(service, 0) + 1
        if holds:
            print(f"  ok    {service:<16} {words}", flush=True)
            return
        line = f"{service:<16} {words}: {otherwise}" if otherwise != "" else f"{service:<16} {words}"
        print(f"  FAIL  {line}", flush=True)
        self.failed.append(line)

    def note(self, service: str, words: str) -> None:
        """Say something that is neither right nor wrong."""
        print(f"  note  {service:<16} {words}", flush=True)

"""The test's output: a line for each thing that was looked at, with the service it is about."""

import time
from dataclasses import dataclass, field


@dataclass
class Told:
    """What was found so far."""

    failed: list[str] = field(default_factory=list)
    services: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def step(self, words: str) -> None:
        """What begins now."""
        print(f"\n[{time.monotonic() - self.started:4.0f} s] {words}", flush=True)

    def check(self, service: str, holds: object, words: str, otherwise: object = "") -> bool:
        """One thing about one service: well, or not, and what was there instead."""
        self.services[service] = self.services.get(service, 0) + 1
        if holds:
            print(f"  ok    {service:<16} {words}", flush=True)
            return True
        line = f"{service:<16} {words}: {otherwise}" if otherwise != "" else f"{service:<16} {words}"
        print(f"  FAIL  {line}", flush=True)
        self.failed.append(line)
        return False

    def note(self, service: str, words: str) -> None:
        """Something that is neither well nor wrong."""
        print(f"  note  {service:<16} {words}", flush=True)

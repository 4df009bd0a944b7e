"""Lanes: commands of one account that are executed one after the other because their sender asks for it."""

import re
from dataclasses import dataclass
from typing import Literal

LANE_HEADER = "orders_lane"
"""The header of a command's message that names its lane."""
UNKNOWN_HEADER = "orders_lane_unknown"
"""The header that says what becomes of the lane when the outcome is unknown: ``hold``, the default, or ``pass``."""
OnUnknown = Literal["hold", "pass"]
_NAME = re.compile(r"[!-~]{1,64}")


def is_lane_name(value: object) -> bool:
    """Whether the value can name a lane: 1 to 64 visible ASCII characters."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane of a command. Raises ValueError where it can't be one."""

    name: str
    on_unknown: OnUnknown = "hold"

    def __post_init__(self) -> None:
        if not is_lane_name(self.name):
            raise ValueError("a lane is named by 1 to 64 visible ASCII characters")
        if self.on_unknown not in ("hold", "pass"):
            raise ValueError("on an unknown outcome a lane is either hold or pass")

    def headers(self) -> dict[str, str]:
        """The headers of the command's message."""
        return {LANE_HEADER: self.name} | ({} if self.on_unknown == "hold" else {UNKNOWN_HEADER: self.on_unknown})


def lane_of(name: str | None, on_unknown: OnUnknown = "hold") -> Lane | None:
    """A lane by its name, or none.

    Raises:
        ValueError: it can't be one.
    """
    return None if name is None else Lane(name, on_unknown)

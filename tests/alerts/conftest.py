"""The fixtures of the integration tests: servers, workers and simulators as processes."""

from tests.integration.conftest import make_bed, simulator

__all__ = ["make_bed", "simulator"]

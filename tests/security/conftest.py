"""The stack that the attacks are made on, started once for all of them."""

from collections.abc import Iterator

import pytest

from tests.support.compose_stack import ComposeStack


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with ComposeStack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def stack(shared: ComposeStack) -> Iterator[ComposeStack]:
    """The stack with the venue as at its start; afterwards it works, with the same processes."""
    shared.venue.reset()
    pids = {login: node.pid for login, node in shared.workers.items()}
    yield shared
    shared.venue.clear_faults()
    shared.venue.release("drop")
    shared.check_alive()
    assert {login: node.pid for login, node in shared.workers.items()} == pids

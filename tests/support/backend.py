"""Whether the nodes of the integration tests are local processes or, with `ORDERS_TEST_NODES=docker`, containers."""

import os
from typing import TYPE_CHECKING

IN_CONTAINERS = os.environ.get("ORDERS_TEST_NODES") == "docker"

if TYPE_CHECKING or not IN_CONTAINERS:
    from tests.support.processes import ProcessNode as BaseNode
else:
    from tests.support.containers import ContainerNode as BaseNode

__all__ = ["IN_CONTAINERS", "BaseNode"]

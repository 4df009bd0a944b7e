"""Nodes of the integration tests: the server, the workers and the simulator as local processes.

pytest-celery asks Docker for containers. The classes here answer to the same interface with processes of this machine,
so that `celery_setup` and the clusters work unchanged where there is no Docker. With `ORDERS_TEST_NODES=docker` server
and workers are containers, and the same tests run on them (`make test-docker`): what a test needs, it asks a
`stack.Stack` for, and a bed only knows pytest-celery's own classes.

`ORDERS_TEST_SERVER` names a `redis-server` or `valkey-server` program to use instead of the embedded Valkey.
"""

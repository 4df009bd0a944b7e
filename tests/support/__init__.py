"""What several folders of tests share: servers, workers, proxies, certificates and fakes.

A *node* is a program that a test runs. pytest-celery asks Docker for containers; the nodes here answer to the same
interface with processes of this machine, so that `celery_setup` and the clusters work where there is no Docker. With
`ORDERS_TEST_NODES=docker` (`make test-docker`) the server and the workers of the same tests are containers.

`ORDERS_TEST_SERVER` names a `redis-server` or `valkey-server` program to use instead of the embedded Valkey.
"""

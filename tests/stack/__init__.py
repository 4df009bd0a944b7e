"""The real stack in containers, as compose/compose.yaml describes it: `python -m tests.stack`, or `make stack-test`.

Images are built with no container registry in reach (compose/offline/build), Grafana's aside. The stack starts under a
name of its own, with the sandbox profile, on ports that the kernel chooses; everything it made goes when it ends,
however it ends. Needs root, docker, debootstrap, and docker compose 2 or docker-compose 1.29 (`COMPOSE` names one).
"""

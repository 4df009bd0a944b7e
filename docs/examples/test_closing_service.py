"""The service's own tests, without a server: `orders` is the fixture that `producers` gives to pytest."""

from collections.abc import Iterator

import pytest
from closing_service import create_app
from fastapi.testclient import TestClient

from producers import Close
from producers.testing import InMemoryOrders

CLOSE = {"account": "main", "pair": "USD_ETH_PERP", "qty": "0.5"}
KEY = {"Idempotency-Key": "mine"}


@pytest.fixture
def service(orders: InMemoryOrders) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: orders.async_client)) as client:
        yield client


def test_an_order_is_enqueued_and_its_report_shown(service: TestClient) -> None:
    accepted = service.post("/closes", json=CLOSE, headers=KEY)
    assert (accepted.status_code, accepted.json()) == (202, {"id": "web-mine", "report": "/closes/mine"})
    report = service.get(accepted.json()["report"])
    assert (report.status_code, report.json()["outcome"], report.json()["executed"]) == (200, "accepted", True)


def test_a_repeated_request_executes_nothing_twice(service: TestClient, orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome=["rejected", "accepted"])
    for _ in range(2):
        assert service.post("/closes", json=CLOSE, headers=KEY).status_code == 202
        assert service.get("/closes/mine").json()["outcome"] == "rejected"
    assert service.post("/closes", json={**CLOSE, "qty": "0.6"}, headers=KEY).status_code == 409


def test_what_is_unknown_is_told_as_unknown(service: TestClient, orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome="unknown")
    service.post("/closes", json=CLOSE, headers=KEY)
    report = service.get("/closes/mine").json()
    assert (report["outcome"], report["executed"]) == ("unknown", None)
    assert "Do not send another one" in report["advice"]
    orders.settle("web-mine", "not_sent")
    assert service.get("/closes/mine").json()["executed"] is False


def test_there_is_no_report_yet(service: TestClient, orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome=None)
    service.post("/closes", json=CLOSE, headers=KEY)
    report = service.get("/closes/mine?wait=30")
    assert (report.status_code, report.json()["outcome"]) == (202, None)


def test_the_broker_or_the_results_are_away(service: TestClient, orders: InMemoryOrders) -> None:
    with orders.broker_unavailable():
        answer = service.post("/closes", json=CLOSE, headers=KEY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "the same Idempotency-Key" in answer.json()["detail"]
    with orders.results_unavailable():
        assert service.post("/closes", json=CLOSE, headers=KEY).status_code == 202
        assert service.get("/closes/mine").status_code == 503


@pytest.mark.parametrize(
    ("body", "headers"),
    [({**CLOSE, "qty": "0"}, KEY), ({**CLOSE, "amount": "1"}, KEY), (CLOSE, {}), (CLOSE, {"Idempotency-Key": "a b"})],
    ids=["no amount", "unknown argument", "no key", "not a key"],
)
def test_what_is_invalid_is_refused(
    service: TestClient, orders: InMemoryOrders, body: dict[str, str], headers: dict[str, str]
) -> None:
    assert service.post("/closes", json=body, headers=headers).status_code == 422
    assert orders.sent == []

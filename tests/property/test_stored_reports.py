"""A report is stored as Celery's own layers would encode it, to the byte, for any report."""

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, states
from hypothesis import given
from hypothesis import strategies as st

from producers.report import Outcome, Position, Reason, Report, error_for
from worker.celery_app.results import SIGN_ATTRIBUTE, ReportBackend, store_arguments

texts = st.text() | st.text(st.characters(categories=("Cs",)), max_size=3) | st.sampled_from(['"', "\\", "é", "\x00"])
times = st.none() | st.integers(0, 2**53)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**40, 10**50) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
positions = st.builds(
    Position, instrument=st.just("USD_BTC_PERP"), direction=st.sampled_from(["long", "short"]), size=st.just("1.50")
)
reports = st.builds(
    Report.model_construct,
    command_id=st.text(min_size=1),
    command=st.sampled_from(["close", "submit", "cancel", "withdraw", "positions"]),
    account=st.none() | texts,
    venue=st.none() | texts,
    outcome=st.sampled_from(Outcome),
    reason=st.sampled_from(Reason) | texts,
    message=texts,
    http_status=st.none() | st.integers(0, 999),
    venue_code=st.none() | st.integers() | texts,
    venue_message=st.none() | texts,
    result=values,
    positions=st.none() | st.lists(positions, max_size=2).map(tuple),
    fingerprint=texts,
    attempts=st.integers(0, 9),
    enqueued_at=times,
    first_sent_at=times,
    last_signed_at=times,
    finished_at=times,
    replayed=st.booleans(),
)
requests = st.builds(
    SimpleNamespace, parent_id=st.none() | texts, group=st.none() | texts, children=st.sampled_from([(), []])
)


@pytest.fixture(scope="module")
def backend() -> Any:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    return ReportBackend(app=app, url="redis://127.0.0.1:1/0")


def undated(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    key, value, *more = arguments
    assert isinstance(json.loads(value)["date_done"], str)
    return key, re.sub(r'"date_done": "\d[^"]*"', "", value), *more


@given(report=reports, request=requests, signs=st.booleans())
def test_a_report_is_encoded_as_celery_encodes_it(
    backend: Any, report: Report, request: SimpleNamespace, *, signs: bool
) -> None:
    setattr(backend.app, SIGN_ATTRIBUTE, (lambda each: {**each, "signature": {"sig": "é"}}) if signs else None)
    error = error_for(report)
    result, state = (report.to_json(), states.SUCCESS) if error is None else (error, states.FAILURE)
    celerys = backend.store_arguments(report.command_id, backend.encode_result(result, state), state, None, request)
    assert undated(store_arguments(backend, report, request)) == undated(celerys)

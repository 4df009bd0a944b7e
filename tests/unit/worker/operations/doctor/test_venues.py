"""What the doctor says about venues and their clocks."""

import socket
from collections.abc import Callable

import pytest

from worker.operations.doctor.accounts import check_key, key_checks
from worker.operations.doctor.findings import Finding, Level, run_checks
from worker.operations.doctor.venues import date_clock, endpoint_clock, venue_checks
from worker.settings import WorkerSettings
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET
from worker.venues.accounts import Account, Credentials
from worker.venues.registry import REGISTRY


def everstrike_clock(name: str, url: str, ca_file: str = "") -> Finding:
    """The finding about Everstrike's clock."""
    endpoint = REGISTRY["everstrike"].time
    assert endpoint is not None
    return endpoint_clock(name, url, ca_file, endpoint)


@pytest.mark.parametrize(
    ("offset_ms", "level"),
    [
        (0, Level.OK),
        (3_000, Level.WARNING),
        (-3_000, Level.WARNING),
        (-20_000, Level.FAULT),
        (20_000, Level.FAULT),
    ],
)
def test_everstrike_clock(simulator: SimulatorServer, offset_ms: int, level: Level) -> None:
    """Against the 15 seconds that a request is valid for."""
    simulator.control.configure(clock_offset_ms=offset_ms)
    found = everstrike_clock("everstrike (main)", simulator.url)
    assert found.level is level
    assert ("NTP" in found.advice) == (level is not Level.OK)


def test_a_venue_that_answers_something_else(simulator: SimulatorServer) -> None:
    """A login page in its place is a fault."""
    simulator.control.fault("garbage", path="/time", times=None)
    assert everstrike_clock("everstrike (main)", simulator.url).level is Level.FAULT
    simulator.control.clear_faults()
    simulator.control.fault("status", path="/time", status=502, body="<html>", times=None)
    assert "not with a time" in everstrike_clock("everstrike (main)", simulator.url).message
    simulator.control.clear_faults()
    for result in ("1" + " " * 65_536, 10**400, [[[]]]):
        simulator.control.fault("respond", path="/time", data={"result": result}, times=None)
        assert "not with a time" in everstrike_clock("everstrike (main)", simulator.url).message
        simulator.control.clear_faults()


@pytest.mark.parametrize("clock", [everstrike_clock, date_clock])
def test_a_time_that_a_cache_kept_is_a_fault(simulator: SimulatorServer, clock: Callable[..., Finding]) -> None:
    """It would be told as the venue's clock, and a good clock of this machine set by it."""
    for path in ("/time", "/"):
        simulator.control.fault("respond", path=path, data={"result": 1}, headers={"Age": "600"}, times=None)
    found = clock("venue", simulator.url)
    assert (found.level, "cache" in found.message) == (Level.FAULT, True)


def test_a_venue_that_is_not_there() -> None:
    """Refused, or silent: a fault either way."""
    assert everstrike_clock("everstrike (main)", "http://127.0.0.1:1").level is Level.FAULT
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = everstrike_clock("everstrike (main)", url)
        assert (found.level, "no answer within" in found.message) == (Level.FAULT, True)
        assert date_clock("bitz (b)", url).level is Level.FAULT


def test_bitz_is_closed(simulator: SimulatorServer) -> None:
    """Without a base URL there is nobody to ask; with one the date of an answer is its clock."""
    keys = {"api_key": "the-api-key", "secret_key": "the-secret-key"}
    settings = WorkerSettings.model_validate({"accounts": {"b": {"venue": "bitz", **keys}}})
    (closed,) = run_checks(venue_checks(settings))
    assert "October 2021" in closed.message
    found = date_clock("bitz (b)", simulator.url)
    assert found.level is Level.OK
    assert "its clock is" in found.message


def test_one_check_for_each_place(simulator: SimulatorServer) -> None:
    """Accounts at one place share a check; no key appears in a finding."""
    keys = {"api_key": "the-api-key", "secret_key": "the-secret-key"}
    accounts = {
        "one": {"venue": "everstrike", "base_url": simulator.url, **keys},
        "two": {"venue": "everstrike", "base_url": f"{simulator.url}/", **keys},
        "three": {"venue": "bitz", **keys},
    }
    found = run_checks(venue_checks(WorkerSettings.model_validate({"accounts": accounts})))
    assert [finding.name for finding in found] == ["everstrike (one, two)", "bitz (three)"]
    assert "the-" not in str(found)


@pytest.mark.parametrize("clock", [everstrike_clock, date_clock])
def test_certificates_that_are_not_there(clock: Callable[..., Finding]) -> None:
    """Told by the setting's name, for it is not the network's fault."""
    finding = clock("venue", "https://127.0.0.1:1", "/nowhere/ca.pem")
    assert finding.level is Level.FAULT
    assert "ORDERS_HTTP__CA_FILE" in finding.message


WRONG = "a-wrong-key-hunter2"


@pytest.mark.parametrize(
    ("venue", "key", "secret", "level", "words"),
    [
        ("everstrike", DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET, Level.OK, "nothing is proven about the secret"),
        ("everstrike", DEMO_EVERSTRIKE_KEY, WRONG, Level.OK, "nothing is proven about the secret"),
        ("everstrike", WRONG, DEMO_EVERSTRIKE_SECRET, Level.FAULT, "refused"),
        ("bitz", DEMO_BITZ_KEY, DEMO_BITZ_SECRET, Level.OK, "key and secret are right"),
        ("bitz", DEMO_BITZ_KEY, WRONG, Level.FAULT, "refused"),
        ("bitz", WRONG, DEMO_BITZ_SECRET, Level.FAULT, "refused"),
    ],
)
def test_a_key_is_tried(
    simulator: SimulatorServer, venue: str, key: str, secret: str, level: Level, words: str
) -> None:
    """By one read that changes nothing; it claims no more than the answer tells, and shows nothing of a key."""
    found = check_key(Account("main", venue, simulator.url, Credentials(key, secret)))
    assert (found.level, words in found.message) == (level, True), found
    assert ("ORDERS_ACCOUNTS__MAIN__" in found.advice) == (level is Level.FAULT)
    assert "hunter2" not in str(found)
    assert simulator.control.executions() == []
    assert len(simulator.control.arrivals()) == 1


@pytest.mark.parametrize("fault", ["garbage", "cut_after", "status"])
def test_a_key_of_which_the_answer_tells_nothing(simulator: SimulatorServer, fault: str) -> None:
    """Neither right nor wrong, also when what answers repeats the key."""
    more = {"status": 502, "body": f"<html>{DEMO_EVERSTRIKE_KEY}"} if fault == "status" else {}
    simulator.control.fault(fault, path="/active_positions", times=None, **more)
    keys = Credentials(DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET)
    found = check_key(Account("main", "everstrike", simulator.url, keys))
    assert found.level is Level.WARNING
    assert DEMO_EVERSTRIKE_KEY not in str(found)


def test_a_key_that_nobody_answers_ends_in_time() -> None:
    """Within what a check may take."""
    keys = {"api_key": "the-api-key", "secret_key": "the-secret-key"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        accounts = {"one": {"venue": "everstrike", "base_url": url, **keys}, "two": {"venue": "bitz", **keys}}
        settings = WorkerSettings.model_validate({"accounts": accounts})
        (found,) = run_checks(key_checks(settings, wanted=True), 60)
    assert (found.name, found.level, "can't be tested" in found.message) == ("key of one", Level.WARNING, True)


def test_a_venue_that_is_not_bitz_is_asked_at_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is added later tells its time by the date of its answers, unless it is listed; it has not closed."""
    from worker.operations.doctor import venues as doctor_venues

    asked: list[str] = []
    monkeypatch.setattr(doctor_venues, "date_clock", lambda name, url, *_: asked.append(f"{name} {url}"))
    doctor_venues._check("kraken", "https://api.example", ["main"], "").run()
    assert asked == ["kraken (main) https://api.example"]
    assert not doctor_venues.closed("kraken", "https://api.example")

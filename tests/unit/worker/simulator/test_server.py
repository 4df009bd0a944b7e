"""The process, its connections and its remote control."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import KEY, close, get, now_ms, post
from worker.simulator.control import SimulatorControl
from worker.simulator.records import Arrival
from worker.simulator.server import SimulatorError, SimulatorServer, check_host, serve

ROOT = Path(__file__).resolve().parents[4]


def connected(server: SimulatorServer) -> http.client.HTTPConnection:
    """A keep-alive connection that has been used once."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/time")
    assert connection.getresponse().read()
    return connection


@pytest.mark.parametrize("rst", [True, False])
def test_idle_connections_can_be_closed(server: SimulatorServer, control: SimulatorControl, rst: bool) -> None:
    """An idle pooled connection is gone when the call returns: FIN reads as the end, RST as a reset."""
    control.reset_idle()
    connection = connected(server)
    assert control.reset_idle(rst=rst) == 1
    assert isinstance(connection.sock, socket.socket)
    if rst:
        with pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
    else:
        assert connection.sock.recv(1) == b""
    connection.close()


def test_a_busy_connection_is_not_idle(control: SimulatorControl) -> None:
    """A request that is being answered keeps its connection."""
    control.reset_idle()
    control.fault("hold")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(close, control.url)
        control.wait(arrivals=1)
        assert control.reset_idle() == 0
        control.release()
        assert answer.result(10).status_code == 200


def test_keep_alive_time(server: SimulatorServer, control: SimulatorControl) -> None:
    """With a keep-alive of 0 the server closes a connection once it has answered."""
    control.configure(keep_alive_seconds=0)
    connection = connected(server)
    assert isinstance(connection.sock, socket.socket)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_connections_are_told_apart(server: SimulatorServer, control: SimulatorControl) -> None:
    """Requests of one connection share their peer port."""
    connection = connected(server)
    connection.request("GET", "/time")
    connection.getresponse().read()
    connection.close()
    requests.get(control.url + "/time", timeout=10)
    ports = [arrival.peer_port for arrival in control.arrivals()]
    assert ports[0] == ports[1] != ports[2]


def test_wait(control: SimulatorControl) -> None:
    """It counts what is there already, filters, waits for what is missing, and says how far it came."""
    close(control.url)
    control.wait(arrivals=1, path="/auth/close", api_key=KEY)
    control.wait(executions=1)
    with pytest.raises(TimeoutError, match="saw 0 of 1"):
        control.wait(executions=1, path="/auth/cancel", timeout=0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(control.wait, executions=1, path="/auth/cancel")
        post(control.url, "/auth/cancel", {"id": "order-1"})
        waiting.result(10)
    with pytest.raises(TimeoutError):
        control.wait(arrivals=1, since=control.arrivals()[-1].seq, timeout=0)


def test_arrivals_executions_and_ages(control: SimulatorControl) -> None:
    """One order of numbers over both; filters by path, key and number; ages over what carried a timestamp."""
    close(control.url, qty="0.1")
    post(control.url, "/auth/cancel", {"id": "order-1"})
    close(control.url, timestamp=now_ms() - 5_000)
    assert [arrival.path for arrival in control.arrivals()] == ["/auth/close", "/auth/cancel", "/auth/close"]
    assert [execution.path for execution in control.executions(path="/auth/cancel")] == ["/auth/cancel"]
    assert len(control.arrivals(path="/auth/close", limit=1)) == 1
    assert control.arrivals(api_key="other") == []
    first = control.arrivals()[0]
    assert isinstance(first, Arrival)
    assert len(control.arrivals(since=first.seq)) == 2
    numbers = [arrival.seq for arrival in control.arrivals()], [execution.seq for execution in control.executions()]
    assert numbers == ([1, 3, 5], [2, 4, 6])
    ages = control.ages(path="/auth/close")
    assert ages.count == 2
    assert ages.p50 is not None
    assert ages.max is not None
    assert ages.p50 < 5_000 <= ages.max
    assert control.ages(path="/time").count == 0


def test_reset_with_and_without_demo_accounts(control: SimulatorControl) -> None:
    """Both are a known start; accounts can be made in either."""
    control.reset(demo=False)
    assert get(control.url, "/balances").status_code == 401
    control.account("everstrike", KEY, "another")
    assert get(control.url, "/balances").json()["result"] == {}
    control.balance(KEY, "ETH", "0.5")
    assert get(control.url, "/balances").json()["result"]["ETH"]["free"] == 0.5
    control.reset()
    assert get(control.url, "/balances").json()["result"]["ETH"]["free"] == 10


def test_an_oversized_request_is_refused(control: SimulatorControl) -> None:
    """A body beyond any command is 413, and not an error of the simulator's."""
    answer = post(control.url, "/auth/cancel", b"id=" + b"x" * 70_000)
    assert (answer.status_code, control.executions()) == (413, [])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.org"])  # noqa: S104 - to be refused
def test_only_loopback(host: str) -> None:
    """An address that others can reach needs a word."""
    with pytest.raises(ValueError, match="loopback"):
        serve(host, 0)
    check_host(host, allow_remote=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_has_many_names(host: str) -> None:
    """All of them are fine."""
    check_host(host, allow_remote=False)


def test_start_stop_start() -> None:
    """It stops whole, also while it holds a request, and starts again on the port it had."""
    server = SimulatorServer()
    server.start()
    with pytest.raises(SimulatorError, match="already"):
        server.start()
    port, pid = server.port, server.pid
    server.control.fault("hold")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(close, server.url)
        server.control.wait(arrivals=1)
        server.stop()
        assert isinstance(answer.exception(10), requests.ConnectionError)
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(requests.ConnectionError):
        server.control.arrivals()
    with server:
        assert server.port == port
        assert server.control.arrivals() == []
        server.kill()
    server.stop()


def test_a_taken_port_is_said() -> None:
    """The start fails instead of waiting, and leaves no process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = SimulatorServer(port=taken.getsockname()[1])
        with pytest.raises(SimulatorError, match="did not start"):
            server.start()
    assert server.pid is None


def test_it_dies_with_its_parent() -> None:
    """A parent that is killed outright leaves no simulator behind: what waits at it is cut off, and nobody listens."""
    program = "from worker.simulator.server import SimulatorServer as S; print(S().start().url, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    control = SimulatorControl(parent.stdout.readline().strip())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(control.wait, arrivals=1, timeout=60)
        parent.kill()
        parent.communicate()
        assert isinstance(waiting.exception(30), requests.ConnectionError)
    with pytest.raises(requests.ConnectionError):
        control.arrivals()


def test_command_line(tmp_path: Path) -> None:
    """It tells its URL in a file, logs one line a request without secrets, and ends quietly on Ctrl-C."""
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "worker.simulator", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(
        [*command, "--ready-fd", "1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    control = SimulatorControl(url)
    control.fault("cut_after", path="cancel")
    assert ready.read_text(encoding="utf-8").strip() == url
    close(url)
    with pytest.raises(requests.ConnectionError):
        post(url, "/auth/cancel", {"id": "order-1"})
    get(url, "/position", pair="USD_SECRET_PERP")
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    lines = [line.split(" INFO ")[1] for line in log.splitlines()]
    assert lines[1:] == [
        "POST /auth/close -> 200, executed",
        "POST /auth/cancel -> no answer, executed (fault: cut_after)",
        "GET /position -> 200",
        "stopped",
    ]


def test_the_command_line_refuses_other_hosts() -> None:
    """With the reason, and the usage status."""
    command = [sys.executable, "-m", "worker.simulator", "--host", "0.0.0.0"]  # noqa: S104 - to be refused
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "--allow-remote" in done.stderr) == (2, True)


def test_nothing_of_the_adapter_is_imported() -> None:
    """The simulator is a second opinion: it shares no code with what it checks, and needs no Celery and no Redis."""
    program = "import sys, worker.simulator.http.app; print(*(name for name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    strangers = ("worker.venues", "worker.execution", "producers.", "celery", "kombu", "redis")
    assert [name for name in loaded if name.startswith(strangers)] == []


def test_the_environment_is_no_proxy(control: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment does not come between a test and its simulator."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    assert control.arrivals() == []

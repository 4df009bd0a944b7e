"""The simulator's process, its connections and its control API."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import KEY, close, get, now_ms, post
from worker.simulator.control import SimulatorControl
from worker.simulator.records import Arrival
from worker.simulator.server import SimulatorError, SimulatorServer, check_host, serve

ROOT = Path(__file__).resolve().parents[4]


def connected(server: SimulatorServer) -> http.client.HTTPConnection:
    """A keep-alive connection that was used once."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/time")
    assert connection.getresponse().read()
    return connection


@pytest.mark.parametrize("rst", [True, False])
def test_idle_connections_can_be_closed(server: SimulatorServer, control: SimulatorControl, rst: bool) -> None:
    """They are closed when the call returns: by FIN or by RST."""
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
    """It is not closed."""
    control.reset_idle()
    control.fault("hold")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(close, control.url)
        control.wait(arrivals=1)
        assert control.reset_idle() == 0
        control.release()
        assert answer.result(10).status_code == 200


def test_the_keep_alive_time_can_be_set(server: SimulatorServer, control: SimulatorControl) -> None:
    """If it is 0, the server closes a connection after each response."""
    control.configure(keep_alive_seconds=0)
    connection = connected(server)
    assert isinstance(connection.sock, socket.socket)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_arrivals_identify_the_connection(server: SimulatorServer, control: SimulatorControl) -> None:
    """Requests of one connection have the same peer port."""
    connection = connected(server)
    connection.request("GET", "/time")
    connection.getresponse().read()
    connection.close()
    requests.get(control.url + "/time", timeout=10)
    ports = [arrival.peer_port for arrival in control.arrivals()]
    assert ports[0] == ports[1] != ports[2]


def test_wait_returns_when_enough_records_match(control: SimulatorControl) -> None:
    """Earlier ones count. After the time limit the error says how many matched."""
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


def test_arrivals_executions_and_ages_can_be_read(control: SimulatorControl) -> None:
    """Their numbers are in one sequence. They can be filtered by path, key and number. Ages need a timestamp."""
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
    """Accounts can be added in both cases."""
    control.reset(demo=False)
    assert get(control.url, "/balances").status_code == 401
    control.account("everstrike", KEY, "another")
    assert get(control.url, "/balances").json()["result"] == {}
    control.balance(KEY, "ETH", "0.5")
    assert get(control.url, "/balances").json()["result"]["ETH"]["free"] == 0.5
    control.reset()
    assert get(control.url, "/balances").json()["result"]["ETH"]["free"] == 10


def test_an_oversized_request_is_refused(control: SimulatorControl) -> None:
    """With 413, without an error of the simulator."""
    answer = post(control.url, "/auth/cancel", b"id=" + b"x" * 70_000)
    assert (answer.status_code, control.executions()) == (413, [])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "192.168.1.1", "::", "example.org")),  # noqa: S104 - to be refused
    ],
)
def test_only_loopback_addresses_are_accepted(host: str, loopback: bool) -> None:
    """Unless another one is allowed explicitly."""
    with nullcontext() if loopback else pytest.raises(ValueError, match="loopback"):
        check_host(host, allow_remote=False)
    check_host(host, allow_remote=True)
    if not loopback:
        with pytest.raises(ValueError, match="loopback"):
            serve(host, 0)


def test_a_stopped_server_starts_again_on_its_port() -> None:
    """It also stops while it holds a request."""
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


def test_a_taken_port_is_an_error() -> None:
    """The start fails without waiting, and leaves no process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = SimulatorServer(port=taken.getsockname()[1])
        with pytest.raises(SimulatorError, match="did not start"):
            server.start()
    assert server.pid is None


def test_it_ends_with_its_parent() -> None:
    """Even if the parent is killed."""
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


def test_the_command_line_program_logs_requests_without_secrets(tmp_path: Path) -> None:
    """It writes its URL to a file, and ends on Ctrl-C."""
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


def test_the_command_line_program_refuses_other_hosts() -> None:
    """With the reason and the exit code of a usage error."""
    command = [sys.executable, "-m", "worker.simulator", "--host", "0.0.0.0"]  # noqa: S104 - to be refused
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "--allow-remote" in done.stderr) == (2, True)


def test_nothing_of_the_adapter_is_imported() -> None:
    """The simulator shares no code with what it checks, and needs neither Celery nor Redis."""
    program = "import sys, worker.simulator.http.app; print(*(name for name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    foreign = ("worker.venues", "worker.execution", "producers.", "celery", "kombu", "redis")
    assert [name for name in loaded if name.startswith(foreign)] == []


def test_the_environment_is_no_proxy(control: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the control API ignores proxies of the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    assert control.arrivals() == []

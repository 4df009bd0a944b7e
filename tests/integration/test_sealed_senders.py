"""Sealed commands from every kind of sender, at workers that execute no others and sign their reports: `OrderClient`,
each part of a canvas, and the documents' senders in Node and Go."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from celery.exceptions import Ignore

from producers import Cancel, Close, Command, OrderClient, Outcome, Withdraw
from producers.seal_vectors import published_key
from tests.integration.conftest import ROOT
from tests.support.signing_keys import fixed_key
from tests.support.stack import Stack
from tests.support.waiting import until

PAYROLL, WORKER = fixed_key("payroll"), fixed_key("worker")
RUN_SECONDS = 300.0
"""Go compiles its library first."""
LANGUAGES = {"js": "node", "go": "go"}
VECTORS = ROOT / "producers" / "schemas" / "seal-vectors.json"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the private keys, and the public ones for the workers."""
    folder = tmp_path_factory.mktemp("keys")
    for key in (PAYROLL, WORKER):
        (folder / f"{key.by}.key").write_text(key.to_file_text(), encoding="utf-8")
    may = 'may = ["cancel", "close", "withdraw:main"]'
    public = f'[producers.payroll]\n{may}\n[producers.payroll.keys]\n{PAYROLL.kid} = "{PAYROLL.public().to_text()}"\n'
    (folder / "keys.toml").write_text(public, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shared(make_bed: Callable[..., Stack], keys: Path) -> Stack:
    return make_bed(
        ORDERS_AUTH__MODE="require",
        ORDERS_AUTH__KEYS_FILE=str(keys / "keys.toml"),
        ORDERS_REPORT_KEY_FILE=str(keys / "worker.key"),
    )


@pytest.fixture
def stack(shared: Stack) -> Stack:
    shared.reset_venue()
    return shared


@pytest.fixture
def client(stack: Stack) -> Iterator[OrderClient]:
    """It seals, and believes what the workers have signed."""
    public = f"worker/{WORKER.kid}={WORKER.public().to_text()}"
    with OrderClient(stack.queue_settings.model_copy(update={"report_keys": public}), signer=PAYROLL) as orders:
        yield orders


CLOSE, TAKEN = Close(account="main", pair="USD_BTC_PERP"), Cancel(account="main", order_id="order-1")
PAID = Withdraw(account="main", asset="ETH", qty="0.10", address="0xabc")

Sign = Callable[[Command, str], Signature]
CANVAS: dict[str, Callable[[Sign], Signature]] = {
    "chain": lambda s: chain(s(TAKEN, "a"), s(CLOSE, "b"), s(PAID, "c")),
    "group": lambda s: group(s(TAKEN, "a"), s(CLOSE, "b"), s(PAID, "c")),
    "chord": lambda s: chord([s(TAKEN, "a"), s(PAID, "c")], s(CLOSE, "b")),
    "chord of one, then a chain": lambda s: chord([s(TAKEN, "a")], s(CLOSE, "b") | s(PAID, "c")),
    "head | group": lambda s: s(TAKEN, "a") | group(s(CLOSE, "b"), s(PAID, "c")),
    "chord of chains": lambda s: chord([s(TAKEN, "a") | s(CLOSE, "b")], s(PAID, "c")),
}


@pytest.mark.parametrize("canvas", CANVAS)
def test_each_part_of_a_canvas_brings_its_own_seal(
    stack: Stack, client: OrderClient, ids: Callable[[str], str], canvas: str
) -> None:
    CANVAS[canvas](lambda command, word: client.signature(command, f"payroll.{ids(word)}")).apply_async()
    reports = client.wait_many([f"payroll.{ids(word)}" for word in "abc"], 300)
    assert [report.outcome for report in reports] == [Outcome.ACCEPTED] * 3
    assert {report.signature.by for report in reports if report.signature} == {"worker"}
    stack.drained()
    assert len(stack.venue.executions()) == 3


def test_a_task_that_replaces_itself_with_a_command(
    stack: Stack, client: OrderClient, ids: Callable[[str], str]
) -> None:
    app = Celery(broker=stack.queue_settings.broker_url, set_as_current=False)

    @app.task(bind=True, name="service.decides", shared=False)
    def decides(_: Any) -> None: ...

    decides.push_request(id=f"payroll.{ids('r')}", called_directly=False)
    with pytest.raises(Ignore):
        decides.replace(client.signature(CLOSE, decides.request.id))
    assert client.wait(f"payroll.{ids('r')}", 300).outcome is Outcome.ACCEPTED


def test_many_commands_and_the_same_id_again(stack: Stack, client: OrderClient) -> None:
    """It is sealed anew, and answered by the report that is there, which is signed anew as well."""
    sent = client.enqueue_many([CLOSE, PAID, TAKEN])
    first = client.wait_many(sent, 300)
    stack.drained()
    again = client.enqueue(PAID, sent[1].command_id)
    stack.drained()
    replay = client.wait(again, 300)
    assert (replay.finished_at, replay.fingerprint) == (first[1].finished_at, first[1].fingerprint)
    assert len(stack.venue.executions()) == 3


# -- senders in other languages ----------------------------------------------------------------------------------------


def example(language: str) -> str:
    """The documents' sender in this language."""
    document = (ROOT / "docs" / "sending.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    return str(found)


def run(language: str, program: str, folder: Path, **environment: str) -> str:
    """What the program prints."""
    path = folder / f"sender.{'mjs' if language == 'js' else language}"
    path.write_text(program, encoding="utf-8")
    command = ["node", str(path)] if language == "js" else ["go", "run", str(path)]
    variables = {"GOCACHE": str(Path.home() / ".cache" / "go-build"), **os.environ, **environment}
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_sender_seals_a_command_that_is_executed(
    stack: Stack, keys: Path, tmp_path: Path, language: str, require_service: Callable[[str, object], None]
) -> None:
    require_service(LANGUAGES[language], shutil.which(LANGUAGES[language]))
    known = set(stack.results.keys("celery-task-meta-*"))
    url = stack.queue_settings.broker_url
    run(language, example(language), tmp_path, ORDERS_REDIS_URL=url, ORDERS_SEAL_KEY_FILE=str(keys / "payroll.key"))
    found: set[Any] = set()

    def stored() -> bool:
        found.update(set(stack.results.keys("celery-task-meta-*")) - known)
        return bool(found)

    until(stored, "the report", 60)
    (command_id,) = (str(key).removeprefix("celery-task-meta-") for key in found)
    assert command_id.startswith("payroll.")
    assert stack.ended(command_id).outcome == ("accepted", "ok")


IN_JS = """
for (const each of JSON.parse(readFileSync(process.env.VECTORS, "utf8")).cases) {
  const { at, until } = each.header, again = seal(each.task, each.id, JSON.parse(each.kwargs), at, until);
  console.log(JSON.stringify(again, sorted) === JSON.stringify(each.header, sorted));
}
"""
IN_GO = """
func main() {
	var vectors struct{ Cases []struct{ Task, Id, Kwargs string; Header object } }
	content, _ := os.ReadFile(os.Getenv("VECTORS"))
	decode(content, &vectors)
	for _, each := range vectors.Cases {
		kwargs := object{}
		decode([]byte(each.Kwargs), &kwargs)
		at, _ := each.Header["at"].(json.Number)
		until, _ := each.Header["until"].(json.Number)
		first, _ := at.Int64()
		last, _ := until.Int64()
		again := canonical(seal(each.Task, each.Id, kwargs, first, last))
		fmt.Println(bytes.Equal(again, canonical(each.Header)))
	}
}

func decode(content []byte, value any) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(value); err != nil {
		panic(err)
	}
}
"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documents_seal_is_that_of_the_vectors(
    tmp_path: Path, language: str, require_service: Callable[[str, object], None]
) -> None:
    """A signature of Ed25519 is determined by key and text, so a seal is right if it is the same again. What only the
    JSON text of the arguments shows, such as a name that occurs twice, is lost on other languages' parsers."""
    require_service(LANGUAGES[language], shutil.which(LANGUAGES[language]))
    program = example(language)
    if language == "js":
        program = program.partition("const task =")[0] + IN_JS
    else:
        unused = '\t"crypto/rand"\n', '\t"net"\n', '\t"net/url"\n', '\t"time"\n'
        program = program.partition("func main()")[0] + IN_GO
        for line in unused:
            program = program.replace(line, "")
    (tmp_path / "key").write_text(published_key().to_file_text(), encoding="utf-8")
    printed = run(language, program, tmp_path, VECTORS=str(VECTORS), ORDERS_SEAL_KEY_FILE=str(tmp_path / "key"))
    cases = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
    told = {case["name"]: line for case, line in zip(cases, printed.split(), strict=True)}
    expected = {case["name"]: str("flaw" not in case).lower() for case in cases if case.get("flaw") != "arguments"}
    assert {name: told[name] for name in expected} == expected

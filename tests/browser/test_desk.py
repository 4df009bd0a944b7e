"""The nights of `docs/nights.md`, settled by clicking exactly what is written there; and the desk as all sorts of
people use it: without scripts, by keyboard, on a phone, in the dark, and with a venue that writes its own pages."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.axe import axe_source, serious
from tests.browser.conftest import Visitor
from tests.browser.desk_rig import STRANGER, DeskNode, DeskStack, desk_settings, ledger_of, sender, settings
from tests.browser.hands import Hands
from tests.support.node import ROOT, running
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.workers import WorkerNode
from worker.simulator.server import SimulatorServer

NIGHTS = (ROOT / "docs/nights.md").read_text(encoding="utf-8")
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'><form action=//evil>"
UNKNOWN = "Unknown commands"
SCROLLS = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
NOT_OURS = (
    "return [...document.querySelectorAll('script, img, iframe, form[action^=\"//\"]')].map(each => each.outerHTML)"
)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskStack]:
    folder = tmp_path_factory.mktemp("desk")
    with ExitStack() as exits:
        simulator = exits.enter_context(SimulatorServer())
        server = exits.enter_context(Server())
        of_worker = settings(folder, server.url(), simulator.url)
        worker, desk = WorkerNode(folder, of_worker), DeskNode(folder, desk_settings(of_worker))
        exits.enter_context(running(worker, desk))
        ledger = exits.enter_context(ledger_of(server))
        yield DeskStack(server, simulator, worker, desk, sender(server.url()), ledger)


@pytest.fixture
def stack(started: DeskStack) -> Iterator[DeskStack]:
    if started.worker.status != "running":
        started.worker.start()
        started.worker.ready()
    started.quiet()
    yield started
    started.venue.release("drop")


@pytest.fixture
def hands(stack: DeskStack, visitor: Visitor) -> Hands:
    """Somebody who has just opened the desk."""
    visitor.browser.get(stack.desk.links[-1])
    visitor.until_text("What needs a person")
    return Hands(visitor)


def check_night(number: int, hands: Hands) -> None:
    """The documentation tells these clicks and words, in this order, and as many of them."""
    section = re.search(rf"^## {number}\. (.*?)(?=^## |\Z)", NIGHTS, re.MULTILINE | re.DOTALL)
    assert section, f"docs/nights.md has no night {number}"
    told = " ".join(section[1].split())
    assert re.findall(r"[Cc]lick \*\*(.+?)\*\*", told) == hands.clicked
    assert re.findall(r"[Tt]ype “(.+?)”", told) == hands.typed
    row = re.search(rf"^\| \[{number}\. .*\| (\d+) \| (\d+) \|$", NIGHTS, re.MULTILINE)
    assert row, f"the table of docs/nights.md has no night {number}"
    print(f"night {number}: {len(hands.clicked)} clicks, {hands.words} typed words")
    assert (int(row[1]), int(row[2])) == (len(hands.clicked), hands.words)


def open_unknown(hands: Hands, command_id: str) -> None:
    hands.click(UNKNOWN)
    hands.click(command_id, "the id")


def test_night_1_the_reply_to_a_withdrawal_was_lost(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("cut_before", path="withdraw")
    lost = stack.withdraw()
    assert stack.ended(lost) == ("unknown", "lost_reply")
    open_unknown(hands, lost)
    hands.visitor.look("1-unknown")
    hands.click("Reconcile now")
    hands.visitor.until_text("proves nothing")
    hands.click("It was not executed, and never will be")
    hands.click("Resolve…")
    hands.visitor.until_text("Its sender may withdraw again")
    hands.type("why", "support ticket 4711: it never arrived")
    hands.visitor.look("1-confirm")
    hands.click("Record that it was NOT executed")
    hands.visitor.until_text("Settled: it is not_sent now")
    hands.visitor.until_text("signed by anna")
    hands.visitor.look("1-settled")
    assert stack.ended(lost) == ("not_sent", "unavailable")
    check_night(1, hands)


def test_night_2_a_worker_died_while_it_closed_a_position(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("hold", path="close", execute=True)
    since = max((arrival.seq for arrival in stack.venue.arrivals()), default=0)
    crashed = stack.close()
    stack.venue.wait(arrivals=1, path="/auth/close", since=since)
    stack.worker.kill()
    stack.venue.release("drop")
    stack.worker.start()
    stack.worker.ready()
    stack.close(command_id=crashed)  # its sender repeats it, so that nobody waits for the dead worker's message
    assert stack.ended(crashed) == ("unknown", "crashed")
    open_unknown(hands, crashed)
    hands.visitor.look("2-crashed")
    hands.click("Reconcile now")
    hands.visitor.until_text("Looked up: accepted")
    hands.visitor.look("2-found")
    assert stack.ended(crashed) == ("accepted", "ok")
    check_night(2, hands)


def test_night_3_the_venue_fails(stack: DeskStack, hands: Hands) -> None:
    hands.click("Halts")
    hands.type("account", "main")
    hands.click("Halt…")
    hands.type("why", "venue failing since 02:10")
    hands.click("Halt")
    hands.visitor.until_text("signed by anna")
    hands.visitor.look("3-halted")
    assert stack.ended(stack.withdraw()) == ("not_sent", "halted")
    hands.click("Lift…")
    hands.type("why", "venue answers again")
    hands.click("Lift the halt")
    hands.visitor.until_text("Nothing is halted")
    hands.click(UNKNOWN)
    hands.visitor.until_text("No command is unknown")
    assert stack.ended(stack.withdraw()) == ("accepted", "ok")
    check_night(3, hands)


def test_night_4_the_key_is_refused(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("envelope", path="withdraw", status=401, message="the key is not valid", times=None)
    refused = [stack.withdraw() for _ in range(2)]
    assert stack.all_end(refused) == {("rejected", "refused")}
    hands.click("All commands")
    hands.click(refused[-1], "the id")
    hands.visitor.until_text("the key is not valid")
    hands.click("Halts")
    hands.click("withdraw alone")
    hands.type("account", "main")
    hands.click("Halt…")
    hands.type("why", "key refused since 02:10")
    hands.visitor.look("4-confirm")
    hands.click("Halt")
    assert stack.ended(stack.withdraw()) == ("not_sent", "halted")
    stack.venue.clear_faults()
    hands.click("Lift…")
    hands.type("why", "new key works")
    hands.click("Lift the halt")
    hands.visitor.until_text("Nothing is halted")
    assert stack.ended(stack.withdraw()) == ("accepted", "ok")
    check_night(4, hands)


def test_night_5_an_answer_that_nobody_has_listed(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("envelope", path="withdraw", status=503, message="The vault is sealed")
    odd = stack.withdraw()
    assert stack.ended(odd) == ("unknown", "unlisted_answer")
    open_unknown(hands, odd)
    hands.visitor.until_text("The vault is sealed")
    hands.visitor.until_text("ORDERS_VENUES__EVERSTRIKE__REFUSALS")
    hands.visitor.look("5-unlisted")
    hands.click("It was not executed, and never will be")
    hands.click("Resolve…")
    hands.type("why", "their support: a sealed vault refuses")
    hands.click("Record that it was NOT executed")
    hands.visitor.until_text("Settled: it is not_sent now")
    check_night(5, hands)


def test_night_6_a_withdrawal_to_a_strangers_address(stack: DeskStack, hands: Hands) -> None:
    held = stack.withdraw(STRANGER)
    until(lambda: stack.state(held) == "HELD", "the hold")
    hands.click("Held for approval")
    hands.click(held, "the id")
    hands.visitor.until_text(STRANGER)
    hands.visitor.look("6-held")
    hands.click("Deny…")
    hands.type("why", "nobody at treasury knows it")
    hands.visitor.look("6-confirm")
    hands.click("Deny")
    hands.visitor.until_text("Denied by anna")
    assert stack.ended(held) == ("not_sent", "denied")
    check_night(6, hands)


def test_night_7_a_withdrawal_to_a_new_vault(stack: DeskStack, hands: Hands) -> None:
    held = stack.withdraw("0xNewVault7")
    until(lambda: stack.state(held) == "HELD", "the hold")
    hands.click("Held for approval")
    hands.click(held, "the id")
    hands.visitor.until_text("0xNewVault7")
    hands.click("Approve…")
    hands.visitor.until_text("Compare amount and address")
    hands.click("Approve")
    hands.visitor.until_text("Approved by anna")
    assert stack.ended(held) == ("accepted", "ok")
    check_night(7, hands)


def test_night_8_somebody_asks_what_became_of_it(stack: DeskStack, hands: Hands) -> None:
    asked = stack.withdraw(command_id="payout-2041")
    others = [stack.close(f"0.{number}") for number in range(1, 4)]
    assert stack.all_end([asked, *others]) == {("accepted", "ok")}
    hands.click("All commands")
    hands.type("id", "payout-2041")
    hands.click("Search")
    hands.visitor.look("8-found")
    hands.click(asked, "the id")
    hands.visitor.until_text("It ended as accepted")
    hands.visitor.look("8-timeline")
    check_night(8, hands)


def test_night_10_many_unknowns_after_an_outage(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("cut_after", path="close", times=12)
    lost = [stack.close(f"0.{number}") for number in range(11, 23)]
    assert stack.all_end(lost) == {("unknown", "lost_reply")}
    hands.click(UNKNOWN)
    hands.visitor.until_text("12 unknown")
    hands.visitor.look("10-many")
    hands.click("Look all of them up now")
    until(lambda: not stack.ledger.zcard("orders:unknown"), lambda: f"every end\n{stack.worker.tail()}", 60)
    hands.click("Load again")
    hands.visitor.until_text("No command is unknown")
    assert stack.all_end(lost) == {("accepted", "ok")}
    check_night(10, hands)


def test_night_11_a_cool_down_that_is_not_needed_any_more(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("envelope", path="withdraw", status=429, retry_after="600")
    assert stack.ended(stack.withdraw())[0] == "not_sent"
    hands.click("Parked")
    hands.visitor.until_text("left")
    hands.visitor.look("11-cool-down")
    hands.click("End…")
    hands.visitor.until_text("If the venue still wants no requests")
    hands.type("why", "their support lifted the ban")
    hands.click("End the cool-down")
    hands.visitor.until_text("Ended: the cool-down")
    assert stack.ended(stack.withdraw()) == ("accepted", "ok")
    check_night(11, hands)


def test_night_12_dead_letters_after_a_bad_deploy(stack: DeskStack, hands: Hands) -> None:
    stack.worker.kill()
    put_aside = stack.close()
    with stack.server.client() as broker:
        assert put_aside in broker.rpoplpush("orders.close", "orders.close.dead")
    stack.worker.start()
    stack.worker.ready()
    hands.click("Dead letters")
    hands.visitor.look("12-dead")
    hands.click("Look, send again or drop")
    hands.visitor.look("12-letter")
    hands.click("Send again…")
    hands.type("why", "the old worker is back")
    hands.click("Send it again")
    hands.visitor.until_text("Sent again:")
    assert stack.ended(put_aside) == ("accepted", "ok")
    check_night(12, hands)


def test_night_13_nobody_serves_a_queue(stack: DeskStack, hands: Hands) -> None:
    stack.worker.kill()
    waiting = stack.withdraw()
    hands.click("Queues")
    hands.visitor.until_text("1", "tr:has(a, th) td")
    hands.visitor.look("13-waiting")
    hands.click("Ask the doctor")
    hands.visitor.until_text("nobody serves orders.cancel")
    hands.visitor.look("13-doctor")
    stack.worker.start()
    stack.worker.ready()
    assert stack.ended(waiting) == ("accepted", "ok")
    hands.click("Queues")
    hands.visitor.look("13-served")
    check_night(13, hands)


# -- all sorts of people, and of venues --------------------------------------------------------------------------------


@pytest.fixture
def hostile(stack: DeskStack) -> str:
    """An unknown whose venue, and whose sender, have written what a browser might run; its id."""
    stack.venue.fault("envelope", path="withdraw", status=503, message=HOSTILE)
    held, lost = (f"<{tag}>{uuid4().hex[:8]}{HOSTILE[:40]}" for tag in "bi")
    stack.withdraw(address="0xNewVault7", command_id=held)
    until(lambda: stack.state(held) == "HELD", "the hold")
    stack.withdraw(command_id=lost)
    assert stack.ended(lost)[0] == "unknown"
    return lost


def each_page(stack: DeskStack, hands: Hands, lost: str) -> Iterator[str]:
    """Show each page of the desk, one after the other, with what there is to see on it; their names."""
    browser = hands.visitor.browser
    browser.get(stack.desk.url)
    places = [str(each.get_attribute("href")) for each in hands.visitor.all("nav a")]
    for place in places:
        browser.get(place)
        yield place.removeprefix(stack.desk.url).strip("/") or "home"
    browser.get(f"{stack.desk.url}/held")
    hands.visitor.all("tbody th a")[0].click()
    yield "held-command"
    hands.click("Approve…")
    yield "confirmation"
    browser.get(f"{stack.desk.url}/unknowns")
    hands.click(lost)
    yield "command"
    browser.get(f"{stack.desk.url}/command?id=nobody")
    yield "error"


def test_a_venue_that_writes_pages_writes_text_alone(stack: DeskStack, hands: Hands, hostile: str) -> None:
    for name in each_page(stack, hands, hostile):
        hands.visitor.look(f"hostile-{name}")
        assert hands.visitor.browser.execute_script(NOT_OURS) == [], name
        assert "taken" not in hands.visitor.browser.title
    assert "onerror=alert(1)" in hands.visitor.pages["hostile-command"].replace("&quot;", '"')


def test_every_page_fits_a_phone_and_a_desk_at_80_percent(stack: DeskStack, hands: Hands, hostile: str) -> None:
    for width, height in ((360, 740), (1600, 1125)):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        hands.visitor.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for name in each_page(stack, hands, hostile):
            hands.visitor.look(f"{width}-{name}")
            assert hands.visitor.browser.execute_script(SCROLLS) <= 0, f"{name} at {width}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    stack: DeskStack, hands: Hands, hostile: str, scheme: str, require_service: Callable[[str, object], None]
) -> None:
    source, browser = axe_source(require_service), hands.visitor.browser
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    found = {}
    for name in each_page(stack, hands, hostile):
        hands.visitor.look(f"{scheme}-{name}")
        found[name] = serious(browser, source)
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_a_night_without_scripts(stack: DeskStack, hands: Hands) -> None:
    hands.visitor.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    stack.venue.fault("cut_after", path="close")
    lost = stack.close()
    assert stack.ended(lost)[0] == "unknown"
    open_unknown(hands, lost)
    hands.click("Reconcile now")
    hands.visitor.until_text("Looked up: accepted")


def test_a_night_by_keyboard_alone(stack: DeskStack, hands: Hands) -> None:
    stack.venue.fault("cut_after", path="close")
    lost = stack.close()
    assert stack.ended(lost)[0] == "unknown"
    browser = hands.visitor.browser

    def press_enter_on(label: str) -> None:
        for _ in range(60):
            ActionChains(browser).send_keys(Keys.TAB).perform()
            focused = browser.switch_to.active_element
            if focused.text.strip() == label:
                assert focused.value_of_css_property("outline-style") != "none", f"nobody sees the focus on {label}"
                focused.send_keys(Keys.ENTER)
                return
        pytest.fail(f"{label} is not reached by keyboard")

    press_enter_on(UNKNOWN)
    hands.visitor.until_text("1 unknown")
    press_enter_on(lost)
    hands.visitor.until_text("What to do")
    press_enter_on("Reconcile now")
    hands.visitor.until_text("Looked up: accepted")


def test_night_9_the_ledger_is_down(stack: DeskStack, hands: Hands) -> None:
    """The last one, because the server is away for a while."""
    stack.server.kill()
    hands.click("Load again")
    hands.visitor.until_text("The ledger does not answer")
    hands.visitor.look("9-down")
    stack.server.start()
    hands.click("Load again")
    hands.visitor.until_text("What needs a person")
    check_night(9, hands)

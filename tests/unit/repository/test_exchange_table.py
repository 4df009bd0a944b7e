"""The table of exchanges in docs/venues.md says what their traits say."""

from collections.abc import Iterator
from pathlib import Path

from worker.venues.ccxt.exchanges import IDS, traits_of
from worker.venues.ccxt.summary import COMMANDS, account_in_words, summary
from worker.venues.ccxt.traits import Traits

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "venues.md"
COLUMNS = ("exchange", *COMMANDS, "found again by its client order id", "account")
BEGIN, END = "<!-- made of the traits by tests/unit/repository/test_exchange_table.py -->", "<!-- end -->"


def table() -> Iterator[str]:
    """The lines of the table, an exchange each."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for ccxt_id in IDS:
        link = f"[`{ccxt_id}`](../worker/venues/ccxt/exchanges/{ccxt_id}.py)"
        words = [each.words for each in summary(ccxt_id)]
        yield f"| {' | '.join([link, *words, account_in_words(_traits(ccxt_id))])} |"


def _traits(ccxt_id: str) -> Traits:
    found = traits_of(ccxt_id)
    assert found is not None
    return found


def notes() -> Iterator[str]:
    """The sources of each exchange's traits, and what nobody could read."""
    for ccxt_id in IDS:
        traits = _traits(ccxt_id)
        if traits.sources:
            yield f"- `{ccxt_id}`, sources: {'; '.join(traits.sources)}"
        if traits.unread:
            yield f"- `{ccxt_id}`, not known: {'; '.join(traits.unread)}"


def page_as_the_traits_say() -> str:
    """docs/venues.md with what the traits say."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    made = "\n".join(["", "", *table(), "", *notes(), "", ""])
    return f"{before}{BEGIN}{made}{END}{rest.partition(END)[2]}"


def test_the_table_is_that_of_the_traits() -> None:
    """To write it: ``python tests/unit/repository/test_exchange_table.py``."""
    assert PAGE.read_text(encoding="utf-8") == page_as_the_traits_say()


if __name__ == "__main__":
    PAGE.write_text(page_as_the_traits_say(), encoding="utf-8")

"""Somebody at the desk who clicks what they read and types a few words; both are counted."""

from dataclasses import dataclass, field

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.conftest import Visitor

CLICKABLE = "//a | //button | //option | //label[input[@type='radio']]"


@dataclass
class Hands:
    """Clicks are counted by what is read on them, words as they are typed. Opening the desk itself is not counted."""

    visitor: Visitor
    clicked: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)

    def click(self, label: str, name: str = "", within: str = "") -> None:
        """Click what has this label, once it is there; ``name`` is what the documentation calls it, ``within`` a text
        in its row of a table."""
        row = f"//tr[contains(., {quoted(within)})]" if within else ""
        found: list[WebElement] = []

        def is_there(_: object) -> bool:
            found[:] = [
                each
                for path in CLICKABLE.split(" | ")
                for each in self.visitor.browser.find_elements(By.XPATH, row + path)
                if each.text.strip() == label and each.is_displayed()
            ]
            return bool(found)

        self.visitor.until(is_there, f"something to click that is labelled {label!r}")
        body = self.visitor.browser.find_element(By.TAG_NAME, "body")
        self.clicked.append(name or label)
        stays = found[0].tag_name in ("label", "option")
        # Pages scroll smoothly for people; a click in the middle of that misses.
        self.visitor.browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", found[0])
        found[0].click()
        if not stays:
            self.visitor.until(lambda _: is_gone(body), "the next page")

    def type(self, field_name: str, words: str) -> None:
        """Type into a field, by its name in the form."""
        box = self.visitor.all(f"[name='{field_name}']")[0]
        box.clear()
        box.send_keys(words)
        self.typed.append(words)

    @property
    def words(self) -> int:
        """How many words were typed."""
        return sum(len(each.split()) for each in self.typed)


def is_gone(element: WebElement) -> bool:
    """Whether the page that had this element has been left."""
    try:
        element.is_enabled()
    except WebDriverException:  # stale, or, while the next page comes, "does not belong to the document"
        return True
    return False


def quoted(text: str) -> str:
    """A text as a literal of XPath."""
    return "concat(" + ", '\"', ".join(f'"{part}"' for part in text.split('"')) + ", '')"

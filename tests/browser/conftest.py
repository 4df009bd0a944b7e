"""A headless Chromium, somebody who uses it, and where the pictures go."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.node import ROOT

SECONDS = 30
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""A browser that talks to nobody but the page: a fresh one looks for updates otherwise."""


@dataclass
class Visitor:
    """The person at the browser."""

    browser: webdriver.Chrome
    pictures: Path
    pages: dict[str, str] = field(default_factory=dict)
    """Source and text of each page that was looked at, by its name."""

    def all(self, css: str) -> list[WebElement]:
        """The elements that a selector matches."""
        return list(self.browser.find_elements(By.CSS_SELECTOR, css))

    def text(self) -> str:
        """What is seen on the page."""
        return str(self.browser.find_element(By.TAG_NAME, "body").text)

    def look(self, name: str) -> None:
        """Take a picture, and keep everything that is on the page, hidden text too."""
        body = self.browser.find_element(By.TAG_NAME, "body")
        self.pages[name] = self.browser.page_source + str(body.get_property("innerText"))
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))

    def until(self, holds: Callable[[webdriver.Chrome], object], what: str) -> None:
        """Wait for something on the page; what is there instead is on the picture `missing`."""
        # Tables are drawn anew while somebody looks.
        wait = WebDriverWait(self.browser, SECONDS, ignored_exceptions=[StaleElementReferenceException])
        try:
            wait.until(holds)
        except TimeoutException:
            self.look("missing")
            pytest.fail(f"{what} was not seen, but:\n{self.text()[:2000]}")

    def until_text(self, text: str, css: str = "body") -> None:
        """Wait until a text is seen. Flower makes two boxes of a worker's name, which Selenium reads as two lines."""
        self.until(
            lambda _: any(text in "".join(each.text.splitlines()) for each in self.all(css)), f"{text!r} in {css}"
        )

    def press(self, css: str) -> None:
        """Click what is there, waited for."""
        self.until(lambda _: any(each.is_displayed() for each in self.all(css)), css)
        next(each for each in self.all(css) if each.is_displayed()).click()

    def leaks(self, *secrets: str) -> dict[str, list[str]]:
        """The secrets on each page that was looked at, with what stands around them; empty when all is well."""
        found = {
            name: [text[max(0, text.find(each) - 100) : text.find(each) + 60] for each in secrets if each in text]
            for name, text in self.pages.items()
        }
        return {name: places for name, places in found.items() if places}


@pytest.fixture
def visitor(
    require_service: Callable[[str, object], None], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Visitor]:
    """Somebody with a browser that nobody is logged in with; the pictures are kept in a folder that git ignores."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require_service("chromium with chromium-driver", program and driver)
    pictures = Path(os.environ.get("ORDERS_TEST_ARTEFACTS", ROOT / ".artefacts")) / request.path.stem
    pictures.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = str(program)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900"):
        options.add_argument(option)
    # Both programs are named, so that Selenium looks for none, here or elsewhere.
    browser = webdriver.Chrome(options=options, service=Service(executable_path=str(driver)))
    browser.set_page_load_timeout(30)
    try:
        yield Visitor(browser, pictures)
    finally:
        browser.quit()

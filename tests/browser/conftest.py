"""A headless Chromium, and where its pictures go."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""A browser that talks to nobody but the page: a fresh one looks for updates otherwise."""


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where pictures are kept for people to look at; git ignores it."""
    folder = Path(os.environ.get("ORDERS_TEST_ARTEFACTS", ROOT / ".artefacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser(require_service: Callable[[str, object], None], tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, which nobody is logged in with."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require_service("chromium with chromium-driver", program and driver)
    options = webdriver.ChromeOptions()
    options.binary_location = str(program)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900"):
        options.add_argument(option)
    # Both programs are named, so that Selenium looks for none, here or elsewhere.
    started = webdriver.Chrome(options=options, service=Service(executable_path=str(driver)))
    started.set_page_load_timeout(30)
    try:
        yield started
    finally:
        started.quit()

"""axe-core, Deque's checker of accessible pages, as npm has it: kept in .artefacts/, never in the repository."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver

from tests.support.node import ROOT

VERSION = "4.14.1"
FETCH_SECONDS = 120
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then(
  found => done(found.violations.map(each => [each.impact, each.id, each.nodes.map(node => node.html).slice(0, 3)])),
  error => done([['critical', String(error), []]]));
"""


def axe_source(require_service: Callable[[str, object], None]) -> str:
    """The script; it is fetched once."""
    folder = ROOT / ".artefacts"
    packed = folder / f"axe-core-{VERSION}.tgz"
    if not packed.exists():
        folder.mkdir(exist_ok=True)
        npm = shutil.which("npm")
        require_service(f"npm, or {packed.relative_to(ROOT)}", npm and _fetched(npm, packed))
    with tarfile.open(packed) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def _fetched(npm: str, packed: Path) -> bool:
    command = [npm, "pack", f"axe-core@{VERSION}"]
    subprocess.run(command, cwd=packed.parent, capture_output=True, timeout=FETCH_SECONDS, check=False)
    return packed.exists()


def serious(browser: webdriver.Chrome, source: str) -> list[Any]:
    """The serious and critical findings on the page that the browser shows."""
    browser.execute_script(source)
    return [each for each in browser.execute_async_script(RUN) if each[0] in ("serious", "critical")]

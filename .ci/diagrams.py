"""Draws the diagrams of the documentation as pictures, for its site: ``python .ci/diagrams.py`` (`make diagrams`).

A code host draws a block of Mermaid by itself; the site may load nothing from elsewhere, so it shows the picture
``docs/pictures/diagrams/PAGE-DIGEST.svg``, or the block as text where there is none. Drawing needs npm, which gets
Mermaid, and Debian's chromium and chromium-driver.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from docs import DIAGRAMS, ROOT, picture_of

MERMAID = "mermaid@11"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = """<!doctype html><meta charset="utf-8"><body><script src="package/dist/mermaid.min.js"></script>"""
DRAW = """
const [text, done] = arguments;
mermaid.initialize({startOnLoad: false, securityLevel: "strict", theme: "neutral", htmlLabels: false,
                    flowchart: {htmlLabels: false}, fontFamily: "sans-serif"});
mermaid.render("diagram", text).then(({svg}) => done(svg), error => done("failed: " + error));
"""


def diagrams() -> dict[Path, str]:
    """The text of each diagram by the path of its picture."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    return {
        picture_of(page.stem, text): text for page in pages for text in BLOCK.findall(page.read_text(encoding="utf-8"))
    }


def main() -> int:
    """Draw what has no picture, and remove the pictures of what is there no more."""
    wanted = diagrams()
    DIAGRAMS.mkdir(parents=True, exist_ok=True)
    for path in set(DIAGRAMS.glob("*.svg")) - wanted.keys():
        path.unlink()
    missing = {path: text for path, text in wanted.items() if not path.exists()}
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            draw(missing, Path(folder))
    print(f"{len(missing)} of {len(wanted)} diagrams were drawn")
    return 0


def draw(missing: dict[Path, str], folder: Path) -> None:
    """Draw diagrams in a browser."""
    from selenium import webdriver

    npm, driver = shutil.which("npm"), shutil.which("chromedriver")
    if npm is None or driver is None:
        sys.exit("make diagrams needs npm, chromium and chromium-driver (apt-get install npm chromium chromium-driver)")
    packed = subprocess.run(  # noqa: S603 - our own arguments
        [npm, "pack", "--silent", MERMAID], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extract("package/dist/mermaid.min.js", folder, filter="data")
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(option)
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser:
        browser.get(f"file://{folder}/page.html")
        for path, text in missing.items():
            svg = browser.execute_async_script(DRAW, text)
            if not svg.startswith("<svg"):
                sys.exit(f"{path.name}: {svg}")
            # A reader in dark colours sees the picture on a light ground too.
            path.write_text(svg.replace('style="', 'style="background: white; ', 1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())

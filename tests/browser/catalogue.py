"""The catalogue of the real evidence in Debian's Chromium: on a phone and a desk, light and dark.

`nox -s catalogue-browser`, or with `-- --output DIR` to keep the site and a picture of each page. Needs `chromium` and
`chromium-driver` from Debian, selenium (`pip install '.[browser]'`), and npm for axe-core, or `--axe FILE`. Ends with 0
if nothing is wrong, with 1 and a line for each fault, and with 2 where something that it needs is not there.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scripts.command import ROOT, main

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

AXE = "axe-core@4.14.1"
WIDTHS, MODES = (360, 1280), ("light", "dark")
HEIGHT, TALLEST = 900, 4000  # pixels, of the window and of a picture
SERIOUS = ("serious", "critical")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def open_browser() -> Any:
    """Debian's Chromium, without a window, with the console and all requests written down."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"):
        options.add_argument(switch)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which root cannot have; the pages are our own
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(60)
    return browser


def find_axe(folder: Path, given: Path | None) -> str:
    """The source of axe-core: of the file that was given, else fetched by npm into a folder of its own."""
    if given is None:
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [archive] = folder.glob("axe-core-*.tgz")
        with tarfile.open(archive) as tar:
            tar.extract("package/axe.min.js", folder, filter="data")
        given = folder / "package/axe.min.js"
    return given.read_text("utf-8")


def look(browser: Any, page: Path, width: int, mode: str) -> None:
    """Open a page as wide as that and in that mode."""
    metrics = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = [{"name": "prefers-color-scheme", "value": mode}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())


def draw(browser: Any, width: int, file: Path) -> None:
    """A picture of the page from its top on."""
    height = min(browser.execute_script("return document.documentElement.scrollHeight"), TALLEST)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    file.write_bytes(base64.b64decode(shot["data"]))


def find_noise(browser: Any) -> Iterator[str]:
    """What the console says, and requests that leave the site's files."""
    for entry in browser.get_log("browser"):
        yield f"console: {entry['message']}"
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = message["params"]["request"]["url"]
            if urlsplit(address).scheme not in ("file", "data"):
                yield f"request: {address}"


def find_wide(browser: Any, width: int) -> Iterator[str]:
    """What makes the page itself scroll sideways, once it was drawn: on a busy machine, style comes a moment late."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    across = browser.execute_script("return document.documentElement.scrollWidth")
    if across > width:
        yield f"the page is {across} pixels wide"
    if browser.execute_script("return [...document.querySelectorAll('table')].some((each) => !each.closest('.wide'))"):
        yield "a table has no box of its own to scroll in"


def find_barriers(browser: Any, axe: str) -> Iterator[str]:
    """What axe-core finds that keeps people out."""
    browser.execute_script(axe)
    ask = "axe.run(document, arguments[0]).then(arguments[1], (e) => arguments[1]({failed: `${e}`}))"
    # It would fetch style sheets again by itself, which no page may from a folder.
    found = browser.execute_async_script(ask, {"runOnly": TAGS, "preload": False})
    if "failed" in found:
        yield f"axe: {found['failed']}"
    for each in found.get("violations", []):
        if each["impact"] in SERIOUS:
            yield f"axe: {each['impact']}: {each['id']}: {each['nodes'][0]['html'][:200]}"


def find_broken(browser: Any) -> Iterator[str]:
    """Links that lead nowhere."""
    ask = "return [...document.querySelectorAll('a, link, script')].map((each) => each.href || each.src)"
    ids = set(browser.execute_script("return [...document.querySelectorAll('[id]')].map((each) => each.id)"))
    here = urlsplit(browser.current_url).path
    for address in map(urlsplit, browser.execute_script(ask)):
        if address.scheme == "file":
            if not Path(unquote(address.path)).is_file():
                yield f"link: {address.path.rpartition('/')[2]} is not there"
            if address.path == here and address.fragment and address.fragment not in ids:
                yield f"link: nothing is called #{address.fragment}"
        elif address.scheme != "data":
            yield f"link: {address.geturl()} leaves the site"


def try_copying(browser: Any, page: Path) -> Iterator[str]:
    """Every copy button puts its command, and nothing else, onto the clipboard."""
    look(browser, page, WIDTHS[0], MODES[0])
    allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", allowed)
    boxes = browser.find_elements(By.CSS_SELECTOR, "[data-copy]")
    if not boxes:
        yield "there is nothing to copy"
    for box in boxes:
        button = box.find_element(By.TAG_NAME, "button")
        button.click()
        wait(browser, lambda button=button: button.text == "Copied")
        said = browser.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], () => arguments[0](null))"
        )
        if said != box.find_element(By.TAG_NAME, "code").get_property("textContent"):
            yield f"copied {said!r}"


def try_filters(browser: Any, page: Path) -> Iterator[str]:
    """The filters leave what they say, in the picture and in the list; by the keyboard alone."""
    look(browser, page, WIDTHS[1], MODES[0])

    def shown() -> tuple[set[str], int]:
        seen = "[...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())"
        ask = f"return {seen}.map((each) => each.dataset.gpu)"
        rows, links = (browser.execute_script(ask, f"{tag}[data-engine]") for tag in ("tr", "a"))
        return set(rows), len(rows) if sorted(rows) == sorted(links) else -1

    _, everything = shown()
    browser.find_element(By.ID, "filter-gpu").send_keys("NVIDIA H200")
    gpus, count = shown()
    if gpus != {"h200"} or not 0 < count < everything:
        yield f"filtered by GPU: {count} of {everything}, for {gpus}"
    browser.find_element(By.ID, "filter-driver").send_keys("570.1")
    if shown()[1] != 0:
        yield "a driver that is too old finds something"
    if browser.find_element(By.ID, "count").text != f"0 of {everything} cells":
        yield "the count is not said"
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").send_keys(Keys.ENTER)
    wait(browser, lambda: shown()[1] == everything)


def try_keyboard(browser: Any, page: Path) -> Iterator[str]:
    """The first Tab finds the way past the navigation, and Enter takes it."""
    look(browser, page, WIDTHS[0], MODES[0])
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    if skip.text != "Skip to the content":
        yield f"the first stop is {skip.text!r}"
    skip.send_keys(Keys.ENTER)
    if browser.switch_to.active_element.get_attribute("id") != "main":
        yield "skipping leads nowhere"


def try_without_scripts(browser: Any, page: Path) -> Iterator[str]:
    """Without scripts all is there, but for what only a script could do."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    look(browser, page, WIDTHS[0], MODES[0])
    if browser.find_element(By.ID, "filters").is_displayed():
        yield "filters are shown that do nothing"
    if not browser.find_element(By.CSS_SELECTOR, "tr[data-engine]:last-child").is_displayed():
        yield "rows are missing"
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def wait(browser: Any, condition: Any) -> None:
    """Give the page a moment. Raises TimeoutException where that does not help."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5, 0.1).until(lambda _: condition())


def choose(pages: Sequence[Path]) -> set[Path]:
    """Pages that differ in kind: those that are no cell's, and of each state the one that has most on it."""
    kinds: dict[str, Path] = {}
    for page in sorted(pages, key=lambda page: page.stat().st_size):
        state = re.search(r'class="state ([\w -]+)"', page.read_text("utf-8")) if page.parent.name == "cells" else None
        kinds[state[1] if state else page.name] = page
    return set(kinds.values())


def check_site(browser: Any, site: Path, axe: str, shots: Path) -> list[str]:
    """One line for each fault: of every page on a phone; of one of each kind in all sizes and modes, by axe too."""
    faults = []
    pages = sorted(site.rglob("*.html"))
    chosen = choose(pages)
    for page, width, mode in product(pages, WIDTHS, MODES):
        if page not in chosen and (width, mode) != (WIDTHS[0], MODES[0]):
            continue
        look(browser, page, width, mode)
        found = [*find_wide(browser, width), *find_broken(browser), *find_noise(browser)]
        if page in chosen:
            draw(browser, width, shots / f"{page.stem}-{width}-{mode}.png")
            found += find_barriers(browser, axe)
        faults += [f"{page.name}, {width} pixels, {mode}: {fault}" for fault in found]
    first = site / "index.html"
    copied = [page for page in sorted(chosen) if "data-copy" in page.read_text("utf-8")]
    tries = [try_keyboard(browser, first), try_filters(browser, first), try_without_scripts(browser, first)]
    tries += [try_copying(browser, page) for page in copied]
    for each in tries:
        faults += [*each, *find_noise(browser)]
    return faults


def run(arguments: Sequence[str] | None = None) -> int:
    """Make the site and check it; the exit code."""
    parser = argparse.ArgumentParser(prog="nox -s catalogue-browser --", description=__doc__)
    parser.add_argument("--output", type=Path, help="keep the site and its pictures in this new folder")
    parser.add_argument("--axe", type=Path, metavar="FILE", help="axe.min.js (default: fetched by npm)")
    options = parser.parse_args(arguments)
    needed = ["chromium", "chromedriver", *([] if options.axe else ["npm"])]
    missing = [name for name in needed if not shutil.which(name)] + ([] if webdriver else ["selenium"])
    if missing:
        print(f"error: not there: {', '.join(missing)}\n  next: install what the first lines of --help name")
        return 2
    with tempfile.TemporaryDirectory(prefix="hallmark-browser-") as folder:
        work = options.output or Path(folder)
        site, shots = work / "site", work / "shots"
        shots.mkdir(parents=True, exist_ok=True)
        axe = find_axe(Path(folder), options.axe)
        if code := main(["catalogue", "--output", str(site), "--evidence", str(ROOT / "docs/evidence")]):
            return code
        browser = open_browser()
        try:
            faults = check_site(browser, site, axe, shots)
        finally:
            browser.quit()
        pages = len(list(site.rglob("*.html")))
    print("\n".join([*faults, f"{pages} pages at {WIDTHS} pixels, {' and '.join(MODES)}: {len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(run())

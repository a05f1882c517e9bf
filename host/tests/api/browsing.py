"""A headless browser, and the checks that tests make in it."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from selenium import webdriver

# The time limit for every wait, in seconds.
PATIENCE = 60


def need(*tools: str) -> str:
    """The path of a program. Without it the test is skipped, or fails in CI (CI=true)."""
    found = next(filter(None, map(shutil.which, tools)), None)
    if found is None:
        missing = f"none of {', '.join(tools)} is installed"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Starts Chromium, which saves downloads in `folder/downloads`."""
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium", "google-chrome", "chrome")
    for argument in (
        *("--headless=new", "--window-size=1280,1600", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={folder / 'profile'}", "--no-proxy-server"),
        # Chromium has no sandbox for root.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    downloads = os.fspath(folder / "downloads")
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(need("chromedriver"))
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def complaints(browser: webdriver.Chrome) -> list[str]:
    """The console's warnings and errors."""
    entries = browser.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] != "INFO"]


def emulate(browser: webdriver.Chrome, width: int, theme: str) -> None:
    """Emulates a screen width in CSS pixels, a phone if it is narrow, and a theme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1}
    screen = size | {"mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": "prefers-color-scheme", "value": theme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Saves a picture of the whole page if `FASTSENTIMENT_SCREENSHOTS` names a folder."""
    if folder := os.environ.get("FASTSENTIMENT_SCREENSHOTS"):
        how = {"captureBeyondViewport": True, "format": "png"}
        image = browser.execute_cdp_cmd("Page.captureScreenshot", how)["data"]
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(image))


def violations(browser: webdriver.Chrome) -> list[str]:
    """The violations of accessibility rules, such as WCAG's, that axe-core finds."""
    found = find_spec("axe_playwright_python")
    assert found, "the package axe-playwright-python is not installed"
    # Of the package only axe-core's script is used.
    folder = Path(next(iter(found.submodule_search_locations or [])))
    browser.execute_script((folder / "axe.min.js").read_text())
    result = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document).then(done, (error) => done({failed: String(error)}));"
    )
    assert "failed" not in result, result
    # On an empty page it would find nothing wrong either.
    assert len(result["passes"]) > 10, result
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]

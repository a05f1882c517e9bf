"""`/docs` in a real browser: it loads within its policy, and requests can be sent."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    presence_of_element_located,
)
from selenium.webdriver.support.ui import WebDriverWait

# How long the page may take for anything, in seconds.
PATIENCE = 60
PREDICT = "#operations-Predictions-predict"


def need(*tools: str) -> str:
    """A program; without it a test is skipped, but in CI (CI=true) it fails."""
    found = next(filter(None, map(shutil.which, tools)), None)
    if found is None:
        missing = f"none of {', '.join(tools)} is installed"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium", "google-chrome", "chrome")
    for argument in (
        *("--headless=new", "--window-size=1280,1600", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path}", "--no-proxy-server"),
        # It is often root that runs tests, for whom Chromium has no sandbox.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(need("chromedriver"))
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console has been told that is not just information."""
    entries = browser.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] != "INFO"]


def test_the_page_loads_and_predicts(browser: webdriver.Chrome, server: Server) -> None:
    wait = WebDriverWait(browser, PATIENCE)
    browser.get(f"{server.main.url}/docs")

    def find(selector: str):
        return wait.until(presence_of_element_located((By.CSS_SELECTOR, selector)))

    def click(selector: str) -> None:
        wait.until(element_to_be_clickable((By.CSS_SELECTOR, selector))).click()

    assert "FastSentiment" in find(".info .title").text
    groups = [
        tag.get_attribute("data-tag")
        for tag in browser.find_elements(By.CSS_SELECTOR, ".opblock-tag")
    ]
    assert groups == ["Predictions", "Operation", "Documentation"]
    click(f"{PREDICT} .opblock-summary-control")
    click(f"{PREDICT} .execute")
    live = f"{PREDICT} .live-responses-table tbody"
    assert find(f"{live} .response-col_status").text.startswith("200")
    assert "predictions" in find(f"{live} .response-col_description").text
    screenshot(browser, "docs")
    assert complaints(browser) == []


def screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Kept for whoever names a folder for them."""
    if folder := os.environ.get("FASTSENTIMENT_SCREENSHOTS"):
        browser.save_screenshot(os.fspath(Path(folder) / f"{name}.png"))


def test_the_policy_lets_nothing_else_in(server: Server) -> None:
    page = server.main.ask("GET", "/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not any(word in policy for word in ("unsafe", "http", "*")), policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_assets_are_sent_packed_to_those_who_take_it(server: Server) -> None:
    for path, content_type in (
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
    ):
        packed = server.main.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        plain = server.main.ask("GET", path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.headers["content-encoding"] is None
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 3
        for answer in (packed, plain):
            assert answer.headers["content-type"] == content_type
            assert answer.headers["vary"] == "accept-encoding"

"""`/docs` in a real browser: it loads within its policy, and requests can be sent."""

from __future__ import annotations

import gzip
import re

from browsing import PATIENCE, complaints, screenshot
from conftest import Server
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    presence_of_element_located,
)
from selenium.webdriver.support.ui import WebDriverWait

PREDICT = "#operations-Predictions-predict"


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
    assert groups == [
        "Predictions",
        "Open Inference Protocol",
        "Operation",
        "Documentation",
        "Pages",
    ]
    click(f"{PREDICT} .opblock-summary-control")
    click(f"{PREDICT} .execute")
    live = f"{PREDICT} .live-responses-table tbody"
    assert find(f"{live} .response-col_status").text.startswith("200")
    assert "predictions" in find(f"{live} .response-col_description").text
    screenshot(browser, "docs")
    assert complaints(browser) == []


def test_the_policy_lets_nothing_else_in(server: Server) -> None:
    for path in ("/", "/docs"):
        page = server.main.ask("GET", path)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert not any(word in policy for word in ("unsafe", "http", "*")), policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"


def test_a_page_never_gets_the_files_of_another(server: Server) -> None:
    for path in ("/", "/docs"):
        page = server.main.ask("GET", path)
        assert page.headers["cache-control"] == "no-cache"
        html = page.body.decode()
        files = re.findall(r'(?:src|href)="(assets/[^"]+)"', html)
        assert len(files) > 2
        # Nothing comes from elsewhere, nothing is in the page itself.
        links = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert set(links) - set(files) <= {"docs", "openapi.json", "#texts", "data:,"}
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", html)
        for file in files:
            answer = server.main.ask("GET", f"/{file}")
            assert answer.status == 200, file
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            folder, build, name = file.split("/")
            other = f"/{folder}/{'0' * len(build)}/{name}"
            assert server.main.ask("GET", other).status == 404
        tag = {"If-None-Match": page.headers["etag"]}
        known = server.main.ask("GET", path, headers=tag)
        assert (known.status, known.body) == (304, b"")
        assert known.headers["etag"] == page.headers["etag"]


def test_assets_are_sent_packed_to_those_who_take_it(server: Server) -> None:
    html = server.main.ask("GET", "/docs").body.decode()
    for name, content_type in (
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
    ):
        (path,) = re.findall(f'"(assets/[^"]+/{re.escape(name)})"', html)
        packed, plain = (
            server.main.ask("GET", f"/{path}", headers={"Accept-Encoding": coding})
            for coding in ("gzip", "identity")
        )
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.headers["content-encoding"] is None
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 3
        for answer in (packed, plain):
            assert answer.headers["content-type"] == content_type
            assert answer.headers["vary"] == "accept-encoding"

"""A server whose clients need API keys: its document, and its page in a real browser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import complaints, screenshot, violations
from conftest import RELEASE, Server, running
from openapi_spec_validator import OpenAPIV31SpecValidator
from selenium import webdriver
from test_page import Page

ASK = json.dumps({"text": ["I love it"]}).encode()
JSON = {"Content-Type": "application/json"}


def made(file: Path, name: str, *options: str) -> str:
    """A new key, which the command prints."""
    command = [RELEASE / "fastsentiment", "keys", "add", file, name, *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    return made(keys, "web")


@pytest.fixture(scope="module")
def guarded(key: str, keys: Path) -> Iterator[Server]:
    with running(keys.parent, "--api-keys", keys) as server:
        yield server


def test_the_document_is_valid_and_names_the_scheme(guarded: Server) -> None:
    document = guarded.main.document()
    OpenAPIV31SpecValidator(document).validate()
    assert list(document["components"]["securitySchemes"]) == ["key"]
    answer = guarded.main.ask("POST", "/predict", ASK, JSON)
    assert answer.status == 401
    assert "401" in document["paths"]["/predict"]["post"]["responses"]


def test_the_page_asks_for_a_key(
    browser: webdriver.Chrome, guarded: Server, key: str
) -> None:
    page = Page(browser, f"{guarded.main.url}/")
    form = page.find("key-form")
    assert not form.is_displayed()
    page.score(["I love it", "It makes no sense"])
    assert form.is_displayed()
    assert page.focused() == "key"
    assert "one of this server's API keys" in page.find("key-why").text
    assert not violations(browser)
    screenshot(browser, "page-key")
    page.find("key").send_keys("wrong\n")
    page.until(lambda: "is wrong" in page.find("key-why").text)
    page.until(form.is_displayed)
    page.find("key").clear()
    page.find("key").send_keys(key, "\n")
    page.until(lambda: not page.find("retry").is_displayed())
    page.settled(2)
    assert all(result["scores"] for result in page.results())
    assert not form.is_displayed()
    # The tab keeps it.
    page = Page(browser, f"{guarded.main.url}/")
    page.score(["It is fine"])
    assert page.results()[0]["scores"]
    # The browser itself complains about each 401.
    assert all("401" in line for line in complaints(browser))

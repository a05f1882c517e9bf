"""The page at `/` in a real browser: typed texts, and errors. Files are in
`test_page_files.py`."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import PATIENCE, complaints, emulate, screenshot, violations
from conftest import Listener, Server
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

TEXTS = [
    "I love it",
    "It makes no sense",
    "Neither this nor that",
    "<b>bold</b> & 'quoted'",
]


class Page:
    """The page, whose script has run."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        self.until(lambda: self.find("live-guest").text != "")

    def find(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition) -> None:
        WebDriverWait(self.browser, PATIENCE).until(lambda _: condition())

    def focused(self) -> str:
        return self.browser.switch_to.active_element.get_attribute("id")

    def score(self, texts: list[str]) -> None:
        """Types and scores texts, using only the keyboard."""
        box = self.find("texts")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys("\n".join(texts))
        box.send_keys(Keys.CONTROL, Keys.ENTER)
        self.settled(len(texts))

    def settled(self, number: int) -> None:
        done = "#results:not([aria-busy]) > .result"
        self.until(lambda: len(self.all(done)) == number)

    def results(self) -> list[dict]:
        return [
            {
                "text": result.find_element(By.CSS_SELECTOR, ".text").text,
                "scores": [
                    {
                        "label": label.find_element(By.CSS_SELECTOR, ".name").text,
                        "score": float(
                            label.find_element(By.TAG_NAME, "data").get_attribute(
                                "value"
                            )
                        ),
                    }
                    for label in result.find_elements(By.CSS_SELECTOR, ".label")
                ],
                "facts": result.find_element(By.CSS_SELECTOR, ".facts").text,
            }
            for result in self.all("#results > .result")
        ]


@pytest.fixture
def page(browser: webdriver.Chrome, server: Server) -> Iterator[Page]:
    yield Page(browser, f"{server.main.url}/")


def predict(listener: Listener, texts: list[str]):
    """The API's answer."""
    body = json.dumps({"text": texts}).encode()
    return listener.ask("POST", "/predict", body, {"Content-Type": "application/json"})


def test_texts_can_be_scored_with_the_keyboard(page: Page, server: Server) -> None:
    texts = [f"{text}, by the keyboard" for text in TEXTS]
    page.score(texts)
    first = page.results()
    answer = predict(server.main, texts)
    expected = json.loads(answer.body)["predictions"]
    assert [result["text"] for result in first] == texts
    assert [result["scores"] for result in first] == expected
    for result in first:
        assert "cache miss" in result["facts"]
        assert answer.headers["x-fastsentiment-guest"] in result["facts"]
        assert answer.headers["x-fastsentiment-model"] in result["facts"]
        assert " ms" in result["facts"]
    # The announcement for screen readers, the focus, and the length of the bars.
    best = expected[0][0]
    assert f"1: {best['label']}." in page.find("announcement").get_attribute(
        "textContent"
    )
    assert page.focused() == "texts"
    fill = page.all("#results .fill")[0]
    bar = page.all("#results .bar")[0]
    assert fill.rect["width"] / bar.rect["width"] == pytest.approx(
        best["score"], abs=0.02
    )

    page.score(texts)
    again = page.results()
    assert [result["scores"] for result in again] == expected
    assert all("cache hit" in result["facts"] for result in again)
    assert "4 from the cache" in page.find("results-summary").text
    assert complaints(page.browser) == []


def test_the_page_shows_the_live_versions(page: Page, server: Server) -> None:
    live = json.loads(server.main.ask("GET", "/version").body)
    assert page.find("version").text == live["version"]
    for name in ("guest", "model"):
        assert page.find(f"live-{name}").text == live[name][:12]
        full = page.find(f"live-{name}-full").get_attribute("textContent")
        assert full == live[name]
    links = [link.get_attribute("href") for link in page.all("header nav a")]
    base = server.main.url
    assert links == [f"{base}/docs", f"{base}/openapi.json"]


def test_the_tab_order_reaches_every_control(page: Page) -> None:
    order = []
    for _ in range(12):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        element = page.browser.switch_to.active_element
        order.append(element.get_attribute("id") or element.text)
        outline = element.value_of_css_property("outline-style")
        assert outline != "none" or order[-1] == "file-input", order
    assert order[:6] == [
        *("Skip to the texts", "API docs", "OpenAPI", "texts", "score", "clear"),
    ]
    assert order[-2:] == ["file-input", "try-examples"]
    # An example is added to the texts, and not scored yet.
    example = page.all(".example")[1]
    page.find("texts").send_keys("Mine.")
    example.send_keys(Keys.ENTER)
    assert page.find("texts").get_attribute("value") == f"Mine.\n{example.text}"
    assert page.all("#results > .result") == []


def test_a_refused_text_costs_no_other(page: Page, server: Server) -> None:
    too_long = "x" * (128 * 1024 + 1)
    box = page.find("texts")
    page.browser.execute_script(
        "arguments[0].value = arguments[1]", box, f"Good one\n{too_long}\nBad one"
    )
    page.find("score").click()
    page.settled(3)
    assert len(page.all("#results .facts")) == 2
    (failure,) = page.all("#results .failure")
    problem = json.loads(predict(server.main, [too_long]).body)
    assert problem["title"] in failure.text
    detail = problem["detail"].removeprefix("`/text/0`: the ")
    assert detail in failure.text, failure.text
    assert "1 without scores" in page.find("results-summary").text
    assert page.find("texts").get_attribute("value").startswith("Good one\n")


def test_texts_can_be_retried_when_the_server_is_back(page: Page) -> None:
    offline = {
        "offline": True,
        "latency": 0,
        "downloadThroughput": -1,
        "uploadThroughput": -1,
    }
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.score(["Before", "And this"])
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    page.score(["Meanwhile", "Nobody there"])
    failures = [failure.text for failure in page.all("#results .failure")]
    assert len(failures) == 2
    assert all("cannot be reached" in failure for failure in failures)
    page.browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions", offline | {"offline": False}
    )
    page.find("retry").send_keys(Keys.ENTER)
    page.until(lambda: len(page.all("#results .facts")) == 2)
    page.settled(2)
    assert not page.find("retry").is_displayed()
    assert page.focused() == "results-heading"


BUSY = """
const real = window.fetch;
let left = 3;
window.fetch = (path, request) => {
  if (path !== "predict" || left === 0) {
    return real(path, request);
  }
  left -= 1;
  const problem = {title: "Overloaded", status: 503, detail: "more texts are waiting"};
  const headers = {"Content-Type": "application/problem+json", "Retry-After": "1"};
  return Promise.resolve(new Response(JSON.stringify(problem), {status: 503, headers}));
};
"""


def test_requests_to_a_busy_server_are_retried(page: Page) -> None:
    page.browser.execute_script(BUSY)
    box = page.find("texts")
    box.send_keys("One while it is busy\nAnother while it is busy")
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(
        lambda: (
            "Overloaded. Retrying in 1 s"
            in page.find("results").get_attribute("textContent")
        )
    )
    page.settled(2)
    assert len(page.results()) == 2
    assert page.all("#results .failure") == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_accessible_at_every_width_and_theme(
    browser: webdriver.Chrome, server: Server, tmp_path: Path, theme: str, width: int
) -> None:
    emulate(browser, width, theme)
    page = Page(browser, f"{server.main.url}/")
    dark = browser.execute_script(
        "return getComputedStyle(document.documentElement).backgroundColor"
    )
    assert (sum(map(int, dark[4:-1].split(","))) < 128) == (theme == "dark")

    def look(name: str) -> None:
        screenshot(browser, f"page-{name}-{theme}-{width}")
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wide) <= 0, name
        assert violations(browser) == [], name

    look("empty")
    page.score([*TEXTS, "w" * 500, "long " * 200, "x" * (128 * 1024 + 1)][:6])
    look("typed")
    file = tmp_path / "reviews.csv"
    rows = [f'{at},"{TEXTS[at % 4]}, ""again""\nand {at}",4\n' for at in range(80)]
    file.write_text("id,review,stars\n" + "".join(rows) + "81\n")
    page.find("file-input").send_keys(str(file))
    page.until(lambda: page.find("file-start").is_displayed())
    look("file")
    page.find("file-start").click()
    page.until(lambda: page.find("file-results").is_displayed())
    look("scored")
    assert complaints(browser) == []


class Proxy(http.server.BaseHTTPRequestHandler):
    """A reverse proxy that serves a server below a path."""

    prefix = "/some/where"
    target: Listener

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else None
        if not self.path.startswith(f"{self.prefix}/"):
            self.send_error(404)
            return
        kept = ("Content-Type", "If-None-Match")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        path = self.path.removeprefix(self.prefix)
        answer = self.target.ask(self.command, path, body, headers)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in {"connection", "date", "transfer-encoding"}:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_it_works_below_a_path_of_a_proxy(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    handler = type("Handler", (Proxy,), {"target": server.main})
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{proxy.server_port}{Proxy.prefix}/"
        page = Page(browser, url)
        page.score(["From far below"])
        assert len(page.results()) == 1
        assert page.all("nav a")[0].get_attribute("href") == f"{url}docs"
        # The proxy sends an answer only once it has all of it.
        file = tmp_path / "lines.txt"
        file.write_text("".join(f"Line {at}, from far below\n" for at in range(1200)))
        page.find("file-input").send_keys(str(file))
        page.until(lambda: page.find("file-start").is_displayed())
        page.find("file-start").click()
        page.until(lambda: page.find("file-results").is_displayed())
        assert page.find("progress-label").text == "Scored"
        assert page.find("progress").get_attribute("value") == "1200"
        assert complaints(browser) == []
    finally:
        proxy.shutdown()
        proxy.server_close()

"""Files on the page at `/` in a real browser, from opening one to the download."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

from browsing import PATIENCE, complaints
from conftest import Server
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from test_page import Page, predict

ROWS = 1500
# Some fields are longer than the limit of Python's reader.
csv.field_size_limit(1 << 20)


def downloaded(folder: Path, name: str) -> Path:
    file = folder / "downloads" / name
    until = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < until, list(folder.iterdir())
        time.sleep(0.1)
    return file


def choose(page: Page, file: Path) -> None:
    page.find("file-input").send_keys(str(file))
    page.until(lambda: page.find("file-about").text.endswith((" rows", " row")))


def finished(page: Page) -> None:
    page.until(
        lambda: page.find("progress-label").text in {"Scored", "Cancelled", "Stopped"}
    )
    page.until(lambda: page.find("file-results").is_displayed())


def test_a_scored_file_has_the_answers_of_the_api(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    rows = [
        [str(at), f'Row {at}, "quoted"\nand more; é {at % 700}', "=1+1"]
        for at in range(ROWS)
    ]
    file = tmp_path / "reviews.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as output:
        csv.writer(output).writerows([["id", "Review", "note"], *rows])
    page = Page(browser, f"{server.main.url}/")
    choose(page, file)
    assert page.focused() == "file-name"
    assert page.find("file-about").text.startswith("CSV · ")
    assert Select(page.find("column")).first_selected_option.text == "Review"
    assert page.find("file-start").text == "Score 1,500 rows"
    page.find("file-start").send_keys(Keys.ENTER)
    finished(page)
    assert page.find("progress-label").text == "Scored"
    progress = page.find("progress")
    assert progress.get_attribute("value") == progress.get_attribute("max") == "1500"
    assert len(page.all("#rows tr")) == 50
    assert page.focused() == "download-csv"
    numbers = page.find("numbers").text
    live = json.loads(server.main.ask("GET", "/version").body)
    assert live["guest"][:12] in numbers
    assert live["model"][:12] in numbers

    page.find("download-csv").send_keys(Keys.ENTER)
    with downloaded(tmp_path, "reviews.scored.csv").open(newline="") as scored:
        head, *found = csv.reader(scored)
    labels = [name.removeprefix("score_") for name in head[5:]]
    assert head == ["id", "Review", "note", "label", "score", *head[5:]]
    assert [row[:3] for row in found] == rows
    page.find("download-jsonl").click()
    with downloaded(tmp_path, "reviews.scored.jsonl").open() as scored:
        lines = [json.loads(line) for line in scored]
    assert len(lines) == ROWS
    for at in range(0, ROWS, 500):
        texts = [row[1] for row in rows[at : at + 500]]
        answer = json.loads(predict(server.main, texts).body)["predictions"]
        for row, line, scores in zip(found[at:], lines[at:], answer, strict=False):
            expected = {score["label"]: score["score"] for score in scores}
            best = scores[0]
            assert (row[3], float(row[4])) == (best["label"], best["score"])
            assert dict(zip(labels, map(float, row[5:]), strict=True)) == expected
            assert line["Review"] == row[1]
            assert line["prediction"] == best | {"scores": expected}
    assert complaints(browser) == []


def test_a_file_may_name_its_delimiter(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "sheet.csv"
    file.write_text("sep=;\r\nid;text\r\n1;good, or not\r\n2;bad\r\n")
    page = Page(browser, f"{server.main.url}/")
    choose(page, file)
    assert page.find("file-about").text.endswith("2 rows")
    page.find("file-start").click()
    finished(page)
    page.find("download-csv").click()
    with downloaded(tmp_path, "sheet.scored.csv").open(newline="") as scored:
        head, *found = csv.reader(scored)
    assert head[:2] == ["id", "text"]
    assert [row[:2] for row in found] == [["1", "good, or not"], ["2", "bad"]]
    assert complaints(browser) == []


def test_a_long_run_can_be_cancelled_and_resumed(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    total = 100_000
    file = tmp_path / "many.txt"
    file.write_text("".join(f"One of many lines, {at}\n" for at in range(total)))
    page = Page(browser, f"{server.main.url}/")
    choose(page, file)
    page.find("file-start").click()
    page.until(lambda: float(page.find("progress").get_attribute("value")) > 0)
    assert " rows/s" in page.find("numbers").text or "–" in page.find("numbers").text
    page.find("file-cancel").click()
    finished(page)
    assert page.find("progress-label").text == "Cancelled"
    done = int(page.find("progress").get_attribute("value"))
    assert 0 < done < total
    assert page.focused() == "file-resume"
    page.find("download-csv").click()
    with downloaded(tmp_path, "many.scored.csv").open(newline="") as scored:
        assert sum(1 for _ in csv.reader(scored)) == 1 + done

    page.find("file-resume").click()
    seen = set()
    while not page.find("file-results").is_displayed():
        seen.add(page.find("progress").get_attribute("value"))
        # The page stays responsive.
        page.find("texts").send_keys("x")
    assert len(seen) > 2
    assert page.find("progress-label").text == "Scored"
    assert page.find("progress").get_attribute("value") == str(total)
    assert page.find("texts").get_attribute("value").startswith("xx")
    page.find("download-jsonl").click()
    with downloaded(tmp_path, "many.scored.jsonl").open() as scored:
        assert (
            sum(1 for line in scored if json.loads(line)["prediction"]["score"])
            == total
        )
    assert complaints(browser) == []


def test_rows_without_scores_have_a_reason(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    too_long = "y" * (128 * 1024 + 1)
    file = tmp_path / "mixed.jsonl"
    lines = ['{"id": 1, "text": "good"}', '{"id": 2}', "no JSON", '"bad"']
    file.write_text("\n".join([*lines, json.dumps({"text": too_long})]))
    page = Page(browser, f"{server.main.url}/")
    choose(page, file)
    page.find("file-start").click()
    finished(page)
    shown = [row.text for row in page.all("#rows tr")]
    assert len(shown) == 5
    for row, words in zip(
        shown,
        ["good", "no text in “text”", "not JSON", "bad", "Text too long"],
        strict=True,
    ):
        assert words in row, row
    assert "Without scores\n3" in page.find("numbers").text
    page.find("download-csv").click()
    with downloaded(tmp_path, "mixed.scored.csv").open(newline="") as scored:
        found = list(csv.DictReader(scored))
    assert [row["id"] for row in found] == ["1", "2", "", "", ""]
    assert [bool(row["error"]) for row in found] == [False, True, True, False, True]


def test_other_files_are_refused_with_a_reason(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    page = Page(browser, f"{server.main.url}/")
    for name, content, words in (
        ("table.xlsx", b"PK\x03\x04\x00\x00\x00", "not a text file"),
        ("array.json", b'[{"text": "a"}]', "JSON Lines"),
        ("empty.csv", b"", "no rows"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        page.find("file-input").send_keys(str(file))
        page.until(lambda words=words: words in page.find("file-problem").text)
        assert not page.find("file-start").is_displayed()
    page.find("file-close").click()
    assert not page.find("file").is_displayed()
    assert page.focused() == "file-input"


def test_many_lines_are_scored_like_a_file(
    browser: webdriver.Chrome, server: Server
) -> None:
    page = Page(browser, f"{server.main.url}/")
    box = page.find("texts")
    lines = "\n".join(f"Pasted line {at}" for at in range(250))
    browser.execute_script("arguments[0].value = arguments[1]", box, lines)
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    finished(page)
    assert page.find("progress").get_attribute("value") == "250"


def test_a_file_can_be_dropped_anywhere(
    browser: webdriver.Chrome, server: Server
) -> None:
    page = Page(browser, f"{server.main.url}/")
    drop = """
      const data = new DataTransfer();
      data.items.add(new File(["text\\tid\\ndropped\\t1\\n"], "dropped.tsv"));
      for (const name of ["dragenter", "dragover", "drop"]) {
        const event = new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true});
        document.querySelector("h1").dispatchEvent(event);
        if (name === "dragover" && document.getElementById("dragging").hidden) {
          throw new Error("the page does not say that it takes the file");
        }
      }
      return document.getElementById("dragging").hidden;
    """
    assert browser.execute_script(drop)
    page.until(lambda: page.find("file-start").is_displayed())
    assert page.find("file-name").text == "dropped.tsv"
    assert [item.text for item in page.all("#sample li")] == ["dropped"]

"""The page, in headless Chromium: it loads without a complaint, and does what it says by mouse, keys and on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reporting.folder import write_folder
from browser import Browser, find_chromium, open_browser
from made_up_result import whole_result

DESKTOP, PHONE = (1200, 900), (360, 740)
_SLIDER = "document.querySelector('#picture-coffee input')"
_TABLE = "document.querySelector('#latency-x4')"
_FIRST_COLUMN = f"[...{_TABLE}.tBodies[0].rows].map(row => row.cells[0].textContent)"
_ENTER, _TAB, _LEFT, _END = ("Enter", 13), ("Tab", 9), ("ArrowLeft", 37), ("End", 35)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(whole_result(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with open_browser(program) as opened:
        yield opened


def at(browser: Browser) -> str:
    """Where the pictures are cut."""
    return browser.value("getComputedStyle(document.querySelector('#picture-coffee .over')).clipPath")


def middle(browser: Browser, expression: str) -> dict[str, Any]:
    browser.value(f"{expression}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = browser.value(
        f"(() => {{const b = {expression}.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]}})()"
    )
    return {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2, "width": box[2]}


def test_the_page_loads_without_a_complaint_and_without_the_network(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    broken = browser.value("[...document.images].filter(image => !image.naturalWidth).map(image => image.alt)")
    assert broken == []
    assert browser.value("document.images.length") == 2 + 7  # the pictures, the plots
    assert browser.value("document.querySelectorAll('table').length") >= 15
    assert browser.complaints == []


def test_the_slider_moves_by_mouse(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    assert at(browser) == "inset(0px 0px 0px 50%)"
    box = middle(browser, _SLIDER)
    browser.drag((box["x"], box["y"]), (box["x"] + box["width"] / 4, box["y"]))
    share = float(at(browser).rpartition(" ")[2].rstrip("%)"))
    assert share == pytest.approx(75, abs=3)


def test_the_slider_moves_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    browser.value(f"{_SLIDER}.focus()")
    for _ in range(3):
        browser.key(*_LEFT)
    assert at(browser) == "inset(0px 0px 0px 47%)"
    assert browser.value(f"{_SLIDER}.getAttribute('aria-valuetext')") == "47 % from the left"
    browser.key(*_END)
    assert at(browser) == "inset(0px 0px 0px 100%)"


def test_versions_are_chosen(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    figure = "document.querySelector('#picture-coffee')"
    shown = f"[...{figure}.querySelectorAll('.name')].map(name => name.textContent)"
    assert browser.value(shown) == ["bicubic", "ours"]
    before = browser.value(f"{figure}.querySelector('.over').src")
    browser.value(
        f"(() => {{const s = {figure}.querySelector('select[data-side=right]'); s.value = 'HR';"
        " s.dispatchEvent(new Event('change'))})()"
    )
    assert browser.value(shown) == ["bicubic", "HR"]
    assert browser.value(f"{figure}.querySelector('.over').src") != before


def test_tables_sort_by_numbers_both_ways_and_what_is_empty_comes_last(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    of_the_ceiling = f"{_TABLE}.tHead.rows[0].cells[8].querySelector('button')"
    milliseconds = f"{_TABLE}.tHead.rows[0].cells[3].querySelector('button')"
    as_measured = browser.value(_FIRST_COLUMN)
    box = middle(browser, milliseconds)
    browser.click(box["x"], box["y"])
    quickest = ["nothing: the harness alone", "edsr-toolkit, auto", "edsr-toolkit, OpenVINO FP32", "ncnn"]
    missing = "OpenCV DNN"
    assert browser.value(_FIRST_COLUMN) == [*quickest, "PyTorch eager FP32", missing] != as_measured
    browser.click(box["x"], box["y"])
    assert browser.value(_FIRST_COLUMN) == ["PyTorch eager FP32", *reversed(quickest), missing]
    assert browser.value(f"{_TABLE}.tHead.rows[0].cells[3].getAttribute('aria-sort')") == "descending"
    box = middle(browser, of_the_ceiling)
    browser.click(box["x"], box["y"])
    assert set(browser.value(_FIRST_COLUMN)[-3:]) == {"PyTorch eager FP32", "nothing: the harness alone", missing}


def test_tables_sort_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    browser.value(f"{_TABLE}.tHead.rows[0].cells[2].querySelector('button').focus()")
    browser.key(*_TAB)
    browser.key(*_ENTER)
    assert browser.value(_FIRST_COLUMN)[0] == "nothing: the harness alone"


def test_a_phone_needs_no_scrolling_sideways(browser: Browser, page: Path) -> None:
    browser.open(page, *PHONE)
    assert browser.value("document.documentElement.scrollWidth") == PHONE[0]
    assert browser.value("document.querySelector('#picture-coffee .compare').getBoundingClientRect().width") <= PHONE[0]
    assert browser.value("document.querySelector('.scroll').scrollWidth") > PHONE[0]  # wide tables scroll by themselves
    assert browser.value("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def test_plots_on_a_phone_stay_large_enough_to_be_read_and_scroll_by_themselves(browser: Browser, page: Path) -> None:
    browser.open(page, *PHONE)
    plots = "[...document.querySelectorAll('.plot')]"
    letters_px = f"Math.min(...{plots}.map(plot => 8 * 4 / 3 * plot.clientWidth / plot.naturalWidth))"  # 8 pt
    assert browser.value(letters_px) >= 9
    boxes = f"{plots}.map(plot => plot.parentElement)"
    assert browser.value(f"{boxes}.every(box => box.clientWidth < {PHONE[0]} && box.scrollWidth > box.clientWidth)")


def test_pictures_of_ours_are_said_to_be_as_new_as_the_page(browser: Browser, page: Path) -> None:
    browser.open(page, *DESKTOP)
    caption = browser.value("document.querySelector('#picture-coffee figcaption').textContent")
    assert "ours was computed when this page was made, not when the rest was measured" in caption


def test_a_script_that_fails_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text('<!doctype html><script>missing()</script><img src="http://127.0.0.1:9/x.png">')
    browser.open(broken, *DESKTOP)
    said = " ".join(browser.complaints)
    browser.complaints.clear()
    assert "missing is not defined" in said
    assert "asks the network for http://127.0.0.1:9/x.png" in said

"""The report in a real browser: nothing asked for, nothing complained of, nothing cut off."""

from __future__ import annotations

import json
import re

import pytest
import reports

from packager.report.html import render_page

PHONE, DESK = 360, 1280
A4_INSIDE = 688  # CSS pixels between the margins of the page's own @page rule: 210 mm - 28 mm


def test_it_asks_for_nothing_and_the_console_stays_silent(shown, report):
    assert shown.requests == [report.as_uri()]
    assert shown.complaints == []


def test_what_a_page_asks_for_and_complains_of_would_be_seen(tab, write):
    address = write(
        "<img src='http://example.invalid/x.png'><script>console.error('here')</script>"
        "<script>throw new Error('there')</script>"
    )
    tab.open(address)
    assert "http://example.invalid/x.png" in tab.requests
    assert any("here" in one for one in tab.complaints)
    assert any("Uncaught" in one for one in tab.complaints)


def test_its_own_policy_forbids_scripts_and_requests(tab, write):
    page = render_page(reports.facts(), reports.packed())
    slipped = (
        "<script>document.title = 'taken'</script><img src='http://example.invalid/x.png'>"
    )
    tab.open(write(page.replace("</main>", f"{slipped}</main>")))
    assert tab.evaluate("document.title") == "tiny 1.4.0: build report"
    assert tab.blocked == ["csp"]
    assert len(tab.complaints) == 2


def test_every_plot_has_a_mark_for_each_candidate(shown, report):
    plots = shown.evaluate("marksAndRows()")
    assert plots
    assert all(marks == rows and len(rows) > 1 for marks, rows in plots)
    document = report.with_name(report.name.replace(".html", ".json"))
    if document.is_file():
        told = [
            sorted(item["name"] for item in target["measured"])
            for target in json.loads(document.read_bytes())["targets"]
        ]
        assert [marks for marks, _ in plots] == [names for names in told if len(names) > 1]


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_nothing_reaches_out_of_the_window(shown, width):
    shown.look(width)
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert shown.evaluate("tooWide()") == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_label_of_a_plot_lies_on_another(shown, width):
    shown.look(width)
    assert shown.evaluate("document.querySelectorAll('svg.plot text.label').length")
    assert shown.evaluate("touchingLabels()") == []


def test_a_phone_gets_its_own_plot_and_a_desk_the_wide_one(opened, rich):
    tab = opened(rich)
    for width, kind in ((PHONE, "narrow"), (DESK, "wide")):
        tab.look(width)
        found = tab.evaluate("shownPlots().map(one => one.classList[1])")
        assert found == [kind, kind]


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_what_lies_behind_it(shown, dark):
    shown.look(DESK, dark=dark)
    paper = shown.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    least, where = shown.evaluate("leastContrast()")
    assert least >= 4.5, where


def test_paper_is_white_and_no_table_is_cut(shown):
    shown.look(A4_INSIDE, media="print", dark=True)
    assert shown.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 40)"
    assert shown.evaluate("cut()") == []


def test_it_prints_to_a_few_pages(shown):
    pages = re.findall(rb"/Type\s*/Page\b", shown.pdf())
    assert 1 < len(pages) < 20


def test_the_keyboard_reaches_every_link_and_box(tab, rich):
    tab.open(rich.as_uri())
    tab.call("Page.bringToFront")
    wanted = tab.evaluate("document.querySelectorAll('a, .scroll, pre').length")
    reached = set()
    for _ in range(wanted):
        for kind in ("rawKeyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        reached.add(
            tab.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert len(reached) == wanted


def test_hostile_names_stay_text_in_a_browser(tab, write):
    word = (
        "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    )
    facts = reports.rich_facts()
    target = facts.targets[0]
    measured = [target.measured[0]]
    measured += [type(one)(**{**vars(one), "name": word}) for one in target.measured[1:2]]
    spoilt = type(target)(**{**vars(target), "measured": measured, "notes": [word]})
    spoilt = type(target)(**{**vars(spoilt), "ladder": spoilt.ladder[2:], "verdicts": ()})
    ladder = [type(one)(**{**vars(one), "name": word}) for one in spoilt.ladder]
    spoilt = type(target)(**{**vars(spoilt), "ladder": ladder})
    tab.open(write(render_page(reports.facts(spoilt), reports.packed())))
    assert tab.evaluate("document.title") == "tiny 1.4.0: build report"
    assert tab.evaluate("document.querySelectorAll('img, script').length") == 0
    assert tab.complaints == []

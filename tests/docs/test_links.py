"""Every Markdown page: its links lead somewhere, and what it names in the code is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if not page.name.startswith(".")
)

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")

# How pages shorten the way to a module: the folder it stands in, without the package.
_SHORTENED = {"stages": "packager", "sources": "packager"}
_FOLDERS = ("tests", "packager", "edge_runtime", "targets", "docs", *_SHORTENED)
_NAMED = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w./*-]*\w")
_PLACEHOLDER = re.compile(r"NNNN|NAME")

# What belongs to one machine or one workplace and never into a page.
FORBIDDEN = (
    r"/(?:home|root|Users|work)/",
    r"\b(?:localhost|127\.0\.0\.1|0\.0\.0\.0|192\.168\.\d+\.\d+|10\.\d+\.\d+\.\d+)\b",
    r"\b(?:issue|ticket) #?\d",
    r"\b(?:TODO|FIXME|XXX)\b",
)


def _title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _slug(heading: str) -> str:
    """Return the anchor that a heading gets on the usual hosts."""
    letters = re.sub(r"[^\w\- ]", "", heading.lower())
    return letters.replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text("utf-8"))
    return {_slug(heading) for heading in _HEADING.findall(text)}


def _problem(page: Path, link: str) -> str | None:
    """Return what is wrong with a link, if anything."""
    if link.startswith("https://"):
        return None
    if ":" in link:
        return f"{link} is neither a page here nor https"
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link} leads nowhere"
    if not target.is_relative_to(ROOT):
        return f"{link} leaves the project"
    if anchor and anchor not in _anchors(target):
        return f"{link}: there is no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=_title)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(_FENCE.sub("", page.read_text("utf-8")))
    assert [found for link in links if (found := _problem(page, link))] == []


@pytest.mark.parametrize("page", PAGES, ids=_title)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    absent = []
    for code in _CODE.findall(page.read_text("utf-8")):
        for name in _NAMED.findall(code) if _NAMED.match(code) else ():
            place = ROOT / _SHORTENED.get(name.partition("/")[0], "")
            if not _PLACEHOLDER.search(name) and not any(place.glob(name)):
                absent.append(name)
    assert absent == []


@pytest.mark.parametrize("page", PAGES, ids=_title)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", page.read_text("utf-8")))
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    assert named - there == set()


@pytest.mark.parametrize("page", PAGES, ids=_title)
def test_no_page_tells_of_one_machine_or_workplace(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [found for word in FORBIDDEN for found in re.findall(word, text)] == []


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    index = ROOT / "docs" / "README.md"
    links = _LINK.findall(index.read_text("utf-8"))
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links}
    assert [_title(page) for page in PAGES if page not in {index, *listed}] == []

"""One browser, and the report of a real build and of one in which everything happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import chromium
import host
import pytest
import reports

from packager.report.html import render_page

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def pipe() -> Iterator[chromium.Pipe]:
    """A running browser."""
    with chromium.browser() as found:
        yield found


@pytest.fixture
def tab(pipe: chromium.Pipe) -> chromium.Page:
    """A new page of the browser, as wide as a desk's."""
    page = chromium.Page(pipe)
    page.look(1280)
    return page


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a build with many candidates, drawn by hand."""
    path = tmp_path_factory.mktemp("rich") / "rich.html"
    path.write_text(render_page(reports.rich_facts(), reports.rich_packed()), "utf-8")
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report that a build of a network for all three kinds of targets has written."""
    workshop, out = (tmp_path_factory.mktemp(name) for name in ("workshop", "dist"))
    host.furnish(workshop)
    host.packager(*host.BUILD, "--out", out, cwd=workshop)
    return out / "cancer-1.4.0.report.html"


@pytest.fixture(params=["rich", "built"])
def report(request: pytest.FixtureRequest) -> Path:
    """Each of the two reports."""
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def opened(tab: chromium.Page) -> Callable[[Path], chromium.Page]:
    """Open a report, with the probes of ``probes.js`` to be asked."""

    def opened(report: Path) -> chromium.Page:
        tab.open(report.as_uri())
        tab.evaluate((HERE / "probes.js").read_text("utf-8") + "\n;true")
        return tab

    return opened


@pytest.fixture
def shown(opened: Callable[[Path], chromium.Page], report: Path) -> chromium.Page:
    """A report, opened."""
    return opened(report)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a page of a test's own; returns its address."""

    def write(text: str) -> str:
        path = tmp_path / "page.html"
        path.write_text(text, "utf-8")
        return path.as_uri()

    return write

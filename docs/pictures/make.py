"""Run the demo, draw what it said and photograph its report: the pictures beside this file.

    python docs/pictures/make.py

It runs ``packager demo`` of this checkout on a terminal of its own, 100 columns wide, cuts the
output at the demo's headings and draws it to the letter: bold where it was bold, and green what
a person types. Lines that are too long go on below, at a blank. Then Chromium, which ``./dev
test`` installs, opens the report: ``report.png`` is the part on one target. Sizes, times and
fingerprints are those of the run.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
COLUMNS = 100

# What to photograph: a target, from its heading to the end of its table of candidates.
REPORT = "demo/dist/breast-cancer-1.0.0.report.html"
TARGET = "x86-64-cpu"
PHOTO_WIDTH, PHOTO_MARGIN, PHOTO_COLOURS = 1110, 16, 128
_ENDS = """
(() => {
  const titles = [...document.querySelectorAll("h2")];
  const title = titles.find((one) => one.textContent === "TARGET");
  const table = title.parentElement.querySelector(".scroll");
  return [title.getBoundingClientRect().top, table.getBoundingClientRect().bottom];
})()
"""

# What to draw: the file, the heading it begins with, the heading it ends before, its title.
PICTURES = (
    ("build.svg", "3 build", "4 install", "on the workstation"),
    ("device.svg", "4 install", "next", "on the device"),
)

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SIZE, ADVANCE, LEADING = 13, 7.8, 19
MARGIN, BAR = 20, 34
PAPER, BAR_PAPER, EDGE = "#0d1117", "#161b22", "#30363d"
PLAIN, BOLD, TYPED, RED, QUIET = "#c9d1d9", "#79c0ff", "#7ee787", "#ff7b72", "#8b949e"
LIGHTS = ("#ff5f56", "#ffbd2e", "#27c93f")

_STYLE = re.compile(r"\x1b\[([0-9;]*)m")
_OVERWRITTEN = re.compile(r"^.*\r(?:\x1b\[K)?")


@dataclass(frozen=True)
class Run:
    """Letters of one style."""

    text: str
    bold: bool = False
    red: bool = False


Line = Sequence[Run]


def main() -> None:
    """Run the demo once and write all pictures."""
    with tempfile.TemporaryDirectory() as directory:
        lines = list(read_terminal(run_demo(Path(directory))))
        (HERE / "report.png").write_bytes(photograph(Path(directory) / REPORT))
    for file, first, end, title in PICTURES:
        part = _part(lines, first, end)
        (HERE / file).write_text(draw(part, f"packager demo: {title}"), encoding="utf-8")


def photograph(report: Path) -> bytes:
    """Return what a report tells of one target as PNG, in few colours so that it is small."""
    sys.path.insert(0, str(CHECKOUT / "tests" / "support"))
    import chromium

    with chromium.browser() as pipe:
        page = chromium.Page(pipe)
        page.look(PHOTO_WIDTH)
        page.open(report.as_uri())
        top, bottom = page.evaluate(_ENDS.replace("TARGET", TARGET))
        whole = Image.open(io.BytesIO(page.screenshot(whole=True))).convert("RGB")
    part = whole.crop((0, round(top) + 2, PHOTO_WIDTH, round(bottom) + PHOTO_MARGIN))
    stream = io.BytesIO()
    part.quantize(PHOTO_COLOURS).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def run_demo(directory: Path) -> str:
    """Return what a terminal gets from ``packager demo``.

    Raises:
        SystemExit: when the demo fails; what it said is the message.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, COLUMNS, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    child = subprocess.Popen(
        [sys.executable, "-m", "packager", "demo", "--dir", "demo"],
        cwd=directory,
        env={**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1", "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b"".join(_read_all(ours)).decode()
    if child.wait():
        sys.exit(f"the demo ended with {child.returncode}:\n{text}")
    return text


def _read_all(terminal: int) -> Iterator[bytes]:
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        while True:
            try:
                data = stream.read(65536)
            except OSError:
                return  # the last program has closed it
            if not data:
                return
            yield data


def read_terminal(text: str) -> Iterator[Line]:
    """Yield the lines that stay on the screen, in runs of one style."""
    style = Run("")
    for line in text.replace("\r\n", "\n").split("\n"):
        runs: list[Run] = []
        pieces = _STYLE.split(_OVERWRITTEN.sub("", line))
        for index, piece in enumerate(pieces):
            if index % 2:
                style = _styled(style, piece)
            elif piece:
                runs.append(replace(style, text=piece))
        yield runs


def _styled(style: Run, codes: str) -> Run:
    for code in codes.split(";"):
        if code == "1":
            style = replace(style, bold=True)
        elif code == "31":
            style = replace(style, red=True)
        else:
            style = Run("")
    return style


def _text(line: Line) -> str:
    return "".join(run.text for run in line)


def _part(lines: Sequence[Line], first: str, end: str) -> list[Line]:
    """Return the lines from one heading to another, blank ones around them left out."""
    titles = [_text(line) for line in lines]
    start, stop = (_find(titles, heading) for heading in (first, end))
    while not titles[stop - 1].strip():
        stop -= 1
    return [row for line in lines[start:stop] for row in _wrapped(line)]


def _find(titles: Sequence[str], heading: str) -> int:
    for number, title in enumerate(titles):
        if title.startswith(heading):
            return number
    sys.exit(
        f"the demo has no heading {heading!r} any more: mend PICTURES in {Path(__file__).name}"
    )


def _wrapped(line: Line) -> Iterator[Line]:
    """Yield rows of at most ``COLUMNS`` letters; what goes on stands below, indented."""
    text = _text(line).rstrip()
    letters = [replace(run, text=letter) for run in line for letter in run.text][: len(text)]
    indent = [Run(" ")] * (len(text) - len(text.lstrip()) + 4)
    while len(letters) > COLUMNS:
        head = "".join(letter.text for letter in letters[: COLUMNS + 1])
        cut = head.rfind(" ")
        cut = cut if cut > len(indent) else COLUMNS
        yield _joined(letters[:cut])
        letters = [*indent, *letters[cut:][letters[cut].text == " " :]]
    yield _joined(letters)


def _joined(letters: Sequence[Run]) -> Line:
    runs: list[Run] = []
    for letter in letters:
        if runs and replace(runs[-1], text="") == replace(letter, text=""):
            runs[-1] = replace(runs[-1], text=runs[-1].text + letter.text)
        else:
            runs.append(letter)
    return runs


def draw(lines: Sequence[Line], title: str) -> str:
    """Return an SVG of a terminal that shows the lines."""
    width = round(2 * MARGIN + COLUMNS * ADVANCE)
    height = BAR + 2 * MARGIN + LEADING * len(lines) - 6
    lights = "".join(
        f'<circle cx="{MARGIN + 18 * place}" cy="{BAR / 2:g}" r="6" fill="{colour}"/>'
        for place, colour in enumerate(LIGHTS)
    )
    rows = [
        _row(line, BAR + MARGIN + SIZE + LEADING * number - 3)
        for number, line in enumerate(lines)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="9"'
            f' fill="{PAPER}" stroke="{EDGE}"/>',
            f'<path d="M1 {BAR}V10a9 9 0 0 1 9-9h{width - 20}a9 9 0 0 1 9 9v{BAR - 10}z"'
            f' fill="{BAR_PAPER}"/>',
            lights,
            f'<g font-family="{FONT}" font-size="{SIZE}" xml:space="preserve" fill="{PLAIN}">',
            f'<text x="{width / 2:g}" y="{BAR / 2 + 4:g}" fill="{QUIET}"'
            f' text-anchor="middle">{escape(title)}</text>',
            *filter(None, rows),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _row(line: Line, y: int) -> str:
    """Return a line's text; each run has its place, so that columns stand in any font."""
    cells, column = [], 0
    for run in line:
        bare = run.text.strip()
        start = column + len(run.text) - len(run.text.lstrip())
        column += len(run.text)
        if bare:
            cells += [
                _cell(found.group(), start + found.start(), y, run)
                for found in re.finditer(r"\S+(?: \S+)*", bare)
            ]
    return "".join(cells)


def _cell(text: str, column: int, y: int, run: Run) -> str:
    typed = text.startswith("$ ")
    colour = RED if run.red else BOLD if run.bold else TYPED if typed else ""
    look = (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if run.bold else "")
    return (
        f'<text x="{MARGIN + column * ADVANCE:g}" y="{y}" textLength="{len(text) * ADVANCE:g}"'
        f' lengthAdjust="spacingAndGlyphs"{look}>{escape(text)}</text>'
    )


if __name__ == "__main__":
    main()

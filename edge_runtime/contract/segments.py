"""One segment of a metrics log: framed JSON lines, and how to read them whatever happened.

``docs/metrics.md`` describes the format. Reading never fails over what a file holds: torn,
flipped or foreign bytes are skipped and counted.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.windows import Window

SCHEMA: Final = "edgepack.metrics-segment/1"
PLAIN: Final = ".jsonl"
PACKED: Final = ".jsonl.z"
MAX_LINE_BYTES: Final = 1 << 20
MAX_SEGMENT_BYTES: Final = 4 << 20  # of lines; what stands behind it is not looked at
MAX_NUMBER: Final = 10**12 - 1
MAX_REPLACED: Final = 64  # segments that one new segment may drop

_INFLATE_STEP = 512  # small, so that little is lost before a flipped byte
_SETTLE_S = 0.01  # a line that is being written is whole after this


@dataclass(frozen=True)
class Subject:
    """What a log speaks of.

    Attributes:
        model: the model's name.
        version: its version, for people.
        digest: sha256 of its manifest, the package's identity.
        variant: the variant that ran.
        provider: the execution provider's full name.
    """

    model: str
    version: str
    digest: str
    variant: str
    provider: str


UNKNOWN: Final = Subject("unknown", "unknown", "unknown", "unknown", "unknown")


@dataclass(frozen=True)
class Dropped:
    """What the byte cap has cost so far."""

    segments: int = 0
    windows: int = 0
    predictions: int = 0

    def plus(self, other: Dropped) -> Dropped:
        """Return the sum."""
        return Dropped(
            self.segments + other.segments,
            self.windows + other.windows,
            self.predictions + other.predictions,
        )


@dataclass(frozen=True)
class Header:
    """The first line of a segment.

    Attributes:
        stream: 16 hex digits, drawn anew by each recorder.
        number: the segment's place among all in its directory, from 1.
        boot: the kernel's boot id.
        pid: the writing process.
        runtime: version of the edge runtime.
        subject: what was measured.
        dropped: what this segment's making dropped, and what that had dropped before it.
        replaced: stems of the segments dropped; they do not count even where they still stand.
    """

    stream: str
    number: int
    boot: str
    pid: int
    runtime: str
    subject: Subject
    dropped: Dropped
    replaced: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The segment's file name without its ending."""
        return f"{self.number:08d}-{self.stream}"

    def to_json(self) -> dict[str, Any]:
        """Return the line's object."""
        return {"kind": "segment", "schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Header:
        """Read what ``to_json`` gave; keys that a newer runtime adds are left alone.

        Raises:
            JsonMalformed: when it is not of that form or of another schema.
        """
        fields = Fields(value, "segment", JsonMalformed)
        if fields.text("schema") != SCHEMA:
            raise JsonMalformed(
                f"a segment of schema {SCHEMA} was expected, found {value['schema']!r}",
                hint="Read it with a newer edge runtime.",
                expected=SCHEMA,
                found=value["schema"],
            )
        subject, dropped = fields.fields("subject"), fields.fields("dropped")
        return cls(
            stream=fields.text("stream", limit=16),
            number=fields.integer("number", high=MAX_NUMBER),
            boot=fields.text("boot"),
            pid=fields.integer("pid"),
            runtime=fields.text("runtime"),
            subject=Subject(**{key: subject.text(key) for key in Subject.__dataclass_fields__}),
            dropped=Dropped(
                **{key: dropped.integer(key) for key in Dropped.__dataclass_fields__}
            ),
            replaced=fields.texts("replaced"),
        )


# --- lines ---------------------------------------------------------------------------------


def frame(value: dict[str, Any]) -> bytes:
    """Render one line: CRC-32 of the JSON in 8 hex digits, a blank, the JSON, a newline."""
    body = strictjson.dumps(value)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def unframe(line: bytes) -> Any:
    """Return a line's JSON value.

    Raises:
        JsonMalformed: when the line is not exactly what ``frame`` writes.
    """
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        raise JsonMalformed(
            f"a log line begins with its CRC-32 {zlib.crc32(body):08x}, found {line[:9]!r}",
            hint="Collect the log again from the device.",
            expected=f"{zlib.crc32(body):08x}",
            found=repr(line[:9]),
        )
    return strictjson.loads(body, what="a log line", limit=MAX_LINE_BYTES)


# --- one segment ---------------------------------------------------------------------------


@dataclass
class Content:
    """What could be read of one segment.

    Attributes:
        header: None when the first line is lost.
        windows: by sequence; of two with the same one the later.
        damaged_lines: lines, and torn ends, that could not be read.
        newer_lines: sound lines of a kind that this runtime does not know.
    """

    header: Header | None = None
    windows: dict[int, Window] = field(default_factory=dict)
    damaged_lines: int = 0
    newer_lines: int = 0

    def dropping(self) -> Dropped:
        """Return what is gone once this segment is: itself, and what it had dropped."""
        own = Dropped(
            1,
            len(self.windows),
            sum(window.tally.predictions for window in self.windows.values()),
        )
        return own.plus(self.header.dropped) if self.header else own

    def take(self, line: bytes) -> None:
        """Read one line into this content."""
        try:
            value = unframe(line)
            kind = Fields(value, "line", JsonMalformed).text("kind")
            if kind == "window":
                window = Window.from_json(value)
                self.windows[window.sequence] = window
            elif kind == "segment":
                self.header = Header.from_json(value)
            else:
                self.newer_lines += 1
        except JsonMalformed:
            self.damaged_lines += 1


def decode(data: bytes, *, packed: bool) -> Content:
    """Read a segment's bytes; never fails."""
    content = Content()
    if packed:
        data, sound = _inflate(data)
        content.damaged_lines += not sound
    if len(data) > MAX_SEGMENT_BYTES:
        content.damaged_lines += 1
    for line in data[:MAX_SEGMENT_BYTES].split(b"\n"):
        if line:
            content.take(line)
    return content


def _inflate(data: bytes) -> tuple[bytes, bool]:
    """Return what unpacks within the limit before the first error, and whether that was all."""
    inflater = zlib.decompressobj()
    parts: list[bytes] = []
    left = MAX_SEGMENT_BYTES + 1
    try:
        for start in range(0, len(data), _INFLATE_STEP):
            part = inflater.decompress(data[start : start + _INFLATE_STEP], left)
            parts.append(part)
            left -= len(part)
            if left <= 0 or inflater.eof:
                break
    except zlib.error:
        return b"".join(parts), False
    return b"".join(parts), inflater.eof and not inflater.unused_data


def read_bytes(path: Path) -> bytes:
    """Read one segment file, a little past the limit at most.

    A line that a living process is writing just now is waited for, once.

    Raises:
        OSError: also for what is no plain file, such as a link or a pipe.
    """
    data = _read_once(path)
    if data and path.suffix == PLAIN and not data.endswith(b"\n"):
        time.sleep(_SETTLE_S)
        data = _read_once(path)
    return data


def _read_once(path: Path) -> bytes:
    with open_plain(path) as file:
        return file.read(MAX_SEGMENT_BYTES + 1)


def open_plain(path: Path) -> io.FileIO:
    """Open a file for reading, and nothing but a file.

    Raises:
        OSError: also for what is no plain file.
    """
    file = io.FileIO(path, opener=_open_carefully)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return file


def _open_carefully(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe under a segment's name would hold the reader for ever.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags)

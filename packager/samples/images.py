"""Folders of images as rows: a folder a class, every image brought to one size.

``photos/cat/1.jpg`` is a row whose label is ``cat``. What is done to an image is written down
in ``docs/processing.md``, because the application has to do the same on the device.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.contract.errors import InputUnreadable
from edge_runtime.contract.rows import unreadable
from edge_runtime.contract.tensors import Array
from packager.errors import DataUnusable, HostExtraMissing, LabelMissing
from packager.samples.large import gathered
from packager.samples.rows import Samples

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
LABEL = "class"
# The one column, named so that it fits the one input of any model.
COLUMN = "X"
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 100_000_000

_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
_MODES = {1: "L", 3: "RGB"}
# Eight bits a channel or fewer; what has more would lose them, and nobody knows by which rule.
_PLAIN = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
# Files that systems leave in folders without being asked.
_LITTER = frozenset({"Thumbs.db", "desktop.ini"})
# What Pillow raises on bytes that are no image, or one that breaks off.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    struct.error,
    SyntaxError,
    TypeError,
    ValueError,
)


def load_images(directory: Path, image: Sequence[int], label: str | None = None) -> Samples:
    """Load a folder of images, a folder in it for each class.

    Images are decoded one after another, so that memory is bounded; all of them lie in a
    nameless file where they are many.

    Args:
        directory: the folder.
        image: the height, width and channels that every image is brought to.
        label: what the label is called; only ``class``, which it is called by itself.

    Raises:
        DataUnusable: when the size is not known, the folder is not made of classes of images,
            or an image is too large, damaged, or has more than eight bits a channel.
        LabelMissing: when the label is to be called otherwise.
        InputUnreadable: when a file cannot be read.
        OutputUnwritable: when there is no room for the images.
        HostExtraMissing: when Pillow is not installed.
    """
    mode = _mode(directory, image)
    if label not in (None, LABEL):
        raise LabelMissing(
            f"the label of images is their folder's name and called {LABEL!r}, not {label!r}",
            hint="Leave out --label.",
            expected=LABEL,
            found=label,
        )
    try:
        files = [file for folder in _classes(directory) for file in _files(folder, directory)]
    except OSError as error:
        raise unreadable(directory.name, error.strerror or str(error)) from None
    reader = _Reader(directory, _pillow(directory), mode, (image[0], image[1]))
    shape = (len(files), *image)
    pixels = gathered(reader.pixels(files), shape, np.dtype(np.uint8))
    names = [file.relative_to(directory).as_posix() for file in files]
    return Samples(
        what=directory.name,
        digest=reader.digest.hexdigest(),
        raw={COLUMN: pixels},
        places=np.array([repr(name) for name in names], dtype=object),
        label=LABEL,
        raw_label=np.array([file.parent.name for file in files], dtype=object),
    )


def _mode(directory: Path, image: Sequence[int]) -> str:
    if not image:
        raise DataUnusable(
            f"{directory.name} is a folder; its images need a size, none is given",
            hint="Give the size that the application hands over: --image 224x224x3",
            expected="height, width and channels",
            found=None,
        )
    mode = _MODES.get(image[2])
    if mode is None:
        raise DataUnusable(
            f"files of images give {' or '.join(map(str, _MODES))} channels, "
            f"{image[2]} are asked for",
            hint="Give the images as an NPZ archive, an array X of uint8 [rows, H, W, C].",
            expected=list(_MODES),
            found=image[2],
        )
    return mode


def _pillow(directory: Path) -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise HostExtraMissing(
            f"{directory.name} holds images, and Pillow is not installed",
            hint="Install it: pip install 'edgepack[host,image]'",
            expected="Pillow",
            found=None,
        ) from None
    return Image


# --- files ---------------------------------------------------------------------------------


def _classes(directory: Path) -> list[Path]:
    """Return the folders of the classes, in the order of their names."""
    found = _entries(directory)
    stray = next((path for path in found if not path.is_dir()), None)
    if stray is not None:
        raise _unusable(
            f"{directory.name} must hold a folder for each class, it holds {stray.name!r}",
            "Put every image into the folder of its class.",
            "folders",
            stray.name,
        )
    if not found:
        raise _unusable(
            f"{directory.name} must hold a folder for each class, it holds none",
            "Put the images into folders, one for each class.",
            "folders",
            "nothing",
        )
    for folder in found:
        _check_text(folder, directory)
    return found


def _files(folder: Path, directory: Path) -> list[Path]:
    """Return the images of a class, in the order of their names."""
    found = _entries(folder)
    for path in found:
        _check_text(path, directory)
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise _unusable(
                f"a class must hold images ({', '.join(SUFFIXES)}), "
                f"{_named(path, directory)} is none",
                "Take it away, or write it as JPEG or PNG.",
                list(SUFFIXES),
                path.name,
            )
    if not found:
        raise _unusable(
            f"every class must have images, {_named(folder, directory)} has none",
            "Take the folder away, or put images into it.",
            "images",
            "nothing",
        )
    return found


def _entries(directory: Path) -> list[Path]:
    found = [path for path in directory.iterdir() if not path.name.startswith(".")]
    return sorted((p for p in found if p.name not in _LITTER), key=lambda path: path.name)


def _check_text(path: Path, directory: Path) -> None:
    """Refuse a name that is no text: neither a label nor a report could hold it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise _unusable(
            f"names must be UTF-8, {_named(path, directory)} is not",
            "Give it another name.",
            "UTF-8",
            ascii(path.name),
        ) from None


def _named(path: Path, directory: Path) -> str:
    """Return how errors name a file, whatever characters its name is made of."""
    return ascii(f"{directory.name}/{path.relative_to(directory).as_posix()}")


def _unusable(message: str, hint: str, expected: object, found: object) -> DataUnusable:
    return DataUnusable(message, hint=hint, expected=expected, found=found)


# --- images --------------------------------------------------------------------------------


class _Reader:
    """Decodes files one after another, and digests their names and bytes.

    Args:
        directory: the folder that they lie in.
        pillow: the module ``PIL.Image``.
        mode: Pillow's name of what the channels mean.
        size: height and width.
    """

    def __init__(
        self, directory: Path, pillow: ModuleType, mode: str, size: tuple[int, int]
    ) -> None:
        self.digest = hashlib.sha256()
        self._directory = directory
        self._pillow = pillow
        self._mode = mode
        self._size = size

    def pixels(self, files: Sequence[Path]) -> Iterator[Array]:
        """Yield each image as ``uint8[1, height, width, channels]``."""
        for file in files:
            data = self._read(file)
            name = json.dumps(file.relative_to(self._directory).as_posix())
            self.digest.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
            yield self._decoded(file, data)[None]

    def _read(self, file: Path) -> bytes:
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise self._unreadable(file, error) from None
        if len(data) > MAX_FILE_BYTES:
            raise _unusable(
                f"an image may have {MAX_FILE_BYTES:,} bytes, "
                f"{_named(file, self._directory)} has more",
                "Write it smaller.",
                MAX_FILE_BYTES,
                file.stat().st_size,
            )
        return data

    def _unreadable(self, file: Path, error: OSError) -> InputUnreadable:
        return unreadable(_named(file, self._directory), error.strerror or str(error))

    def _decoded(self, file: Path, data: bytes) -> Array:
        try:
            # Our own limit is the one that holds; Pillow only warns at its own.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with self._pillow.open(io.BytesIO(data), formats=_FORMATS) as picture:
                    self._check(file, picture)
                    return self._brought(picture)
        except self._pillow.DecompressionBombError:
            raise self._too_large(file, "far more") from None
        except _BROKEN as error:
            raise _unusable(
                f"{_named(file, self._directory)} is no sound image: "
                f"{ascii(str(error) or type(error).__name__)[1:-1]}",
                "Take it away, or write it again.",
                list(_FORMATS),
                "no sound image",
            ) from None

    def _check(self, file: Path, picture: Image) -> None:
        """Refuse by its header an image that must not be decoded."""
        if picture.width * picture.height > MAX_PIXELS:
            raise self._too_large(file, f"{picture.width * picture.height:,}")
        if picture.mode not in _PLAIN:
            raise _unusable(
                f"images must have eight bits a channel, {_named(file, self._directory)} is of "
                f"Pillow's mode {picture.mode}",
                "Write it with eight bits a channel, by a rule of your own.",
                sorted(_PLAIN),
                picture.mode,
            )

    def _too_large(self, file: Path, pixels: str) -> DataUnusable:
        return _unusable(
            f"an image may have {MAX_PIXELS:,} pixels, "
            f"{_named(file, self._directory)} has {pixels}",
            "Take it away if you do not know where it is from, or write it smaller.",
            MAX_PIXELS,
            pixels,
        )

    def _brought(self, picture: Image) -> Array:
        """Turn an image upright, and bring it to the channels and the size asked for."""
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(picture).convert(self._mode)
        height, width = self._size
        if upright.size != (width, height):
            upright = upright.resize((width, height), self._pillow.Resampling.BILINEAR)
        return np.asarray(upright, dtype=np.uint8).reshape(height, width, -1)

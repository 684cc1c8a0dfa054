"""Folders of images: sorted, upright, one size; and everything that is no image is refused."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_runtime.contract.errors import EdgepackError, OutputUnwritable
from edge_runtime.contract.tensors import TensorSpec
from packager.errors import DataUnusable, HostExtraMissing, LabelMissing
from packager.samples import large, load_samples, split_samples
from packager.samples.images import MAX_FILE_BYTES, MAX_PIXELS

SIZE = (4, 6, 3)


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path: Path, array: np.ndarray[Any, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with three images each, already of the right size."""
    for number, name in enumerate(("dog/b.png", "dog/a.png", "dog/c.bmp")):
        save(tmp_path / "photos" / name, pixels(4, 6, number))
    for number, name in enumerate(("cat/1.png", "cat/2.webp", "cat/10.PNG"), start=9):
        save(tmp_path / "photos" / name, pixels(4, 6, number), lossless=True)
    return tmp_path / "photos"


def rows_of(samples: Any) -> np.ndarray[Any, Any]:
    return np.asarray(samples.feed((), [TensorSpec("any", "uint8", (None, *SIZE))])["any"])


def test_a_folder_is_a_class_and_rows_come_in_the_order_of_their_names(photos: Path) -> None:
    samples = load_samples(photos, None, SIZE)
    assert samples.label == "class"
    assert samples.raw_label is not None
    assert samples.raw_label.tolist() == ["cat"] * 3 + ["dog"] * 3
    assert samples.places.tolist() == [
        *("'cat/1.png'", "'cat/10.PNG'", "'cat/2.webp'"),
        *("'dog/a.png'", "'dog/b.png'", "'dog/c.bmp'"),
    ]
    assert samples.kinds == {"X": "tensor"}
    expected = [pixels(4, 6, seed) for seed in (9, 11, 10, 1, 0, 2)]
    np.testing.assert_array_equal(rows_of(samples), expected)
    assert rows_of(samples).dtype == np.uint8


def test_a_class_that_the_model_does_not_know_names_the_image(photos: Path) -> None:
    with pytest.raises(LabelMissing, match=r"photos row 'dog/a.png': label 'class' is 'dog'"):
        load_samples(photos, "class", SIZE).label_classes(["cat", "cow"])


def test_the_digest_tells_names_and_bytes_and_nothing_else(photos: Path) -> None:
    first = load_samples(photos, None, SIZE).digest
    assert load_samples(photos.rename(photos.with_name("other")), None, SIZE).digest == first
    photos = photos.with_name("other")
    (photos / "dog" / "a.png").rename(photos / "dog" / "d.png")
    renamed = load_samples(photos, None, SIZE).digest
    save(photos / "dog" / "d.png", pixels(4, 6, 77))
    assert len({first, renamed, load_samples(photos, None, SIZE).digest}) == 3


def test_other_sizes_are_brought_to_one_as_pillow_s_bilinear_filter_does(
    tmp_path: Path,
) -> None:
    large_one = pixels(40, 30)
    save(tmp_path / "photos" / "cat" / "1.png", large_one)
    expected = Image.fromarray(large_one).resize((6, 4), Image.Resampling.BILINEAR)
    samples = load_samples(tmp_path / "photos", None, SIZE)
    np.testing.assert_array_equal(rows_of(samples)[0], np.asarray(expected))


def test_an_image_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    upright = Image.fromarray(pixels(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    path = tmp_path / "photos" / "cat" / "1.png"
    path.parent.mkdir(parents=True)
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    samples = load_samples(tmp_path / "photos", None, SIZE)
    np.testing.assert_array_equal(rows_of(samples)[0], np.asarray(upright))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_plain_mode_becomes_grey_or_colour(
    tmp_path: Path, mode: str, channels: int
) -> None:
    picture = Image.fromarray(pixels(4, 6)).convert(mode)
    path = tmp_path / "photos" / "cat" / ("1.jpg" if mode == "CMYK" else "1.png")
    path.parent.mkdir(parents=True)
    picture.save(path)
    samples = load_samples(tmp_path / "photos", None, (4, 6, channels))
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert({1: "L", 3: "RGB"}[channels]))
    np.testing.assert_array_equal(samples.raw["X"][0], expected.reshape(4, 6, channels))


def test_what_systems_leave_in_folders_is_passed_over(photos: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "dog/.hidden", "cat/desktop.ini"):
        (photos / name).write_text("x")
    (photos / ".cache").mkdir()
    assert load_samples(photos, None, SIZE).rows == 6


def test_one_class_alone_is_rows_like_any(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "cat" / "1.png", pixels(4, 6))
    assert load_samples(tmp_path / "photos", None, SIZE).rows == 1


# --- what is refused -----------------------------------------------------------------------


def refused(photos: Path, error: type[EdgepackError] = DataUnusable, **changes: Any) -> str:
    asked = {"label": None, "image": SIZE, **changes}
    with pytest.raises(error) as caught:
        load_samples(photos, asked["label"], asked["image"])
    assert caught.value.hint
    return str(caught.value)


def test_a_folder_needs_a_size(photos: Path) -> None:
    assert "its images need a size, none is given" in refused(photos, image=())


def test_files_have_one_or_three_channels(photos: Path) -> None:
    assert "1 or 3 channels, 4 are asked for" in refused(photos, image=(4, 6, 4))


def test_the_label_is_called_class(photos: Path) -> None:
    assert "called 'class', not 'kind'" in refused(photos, LabelMissing, label="kind")


def test_without_pillow_the_extra_is_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(HostExtraMissing) as caught:
        load_samples(photos, None, SIZE)
    assert "edgepack[host,image]" in str(caught.value.hint)


def test_an_empty_folder_has_no_classes(tmp_path: Path) -> None:
    assert "it holds none" in refused(tmp_path)


def test_an_empty_class_is_named(photos: Path) -> None:
    (photos / "cow").mkdir()
    assert "/cow' has none" in refused(photos)


def test_an_image_outside_of_any_class_is_named(photos: Path) -> None:
    save(photos / "stray.png", pixels(4, 6))
    assert "it holds 'stray.png'" in refused(photos)


@pytest.mark.parametrize("name", ["readme.txt", "1.tiff", "1.gif", "1.svg", "1"])
def test_other_files_are_named(photos: Path, name: str) -> None:
    (photos / "cat" / name).write_bytes(b"x")
    assert f"'photos/cat/{name}' is none" in refused(photos)


def test_a_folder_within_a_class_is_no_image(photos: Path) -> None:
    (photos / "cat" / "more.png").mkdir()
    assert "'photos/cat/more.png' is none" in refused(photos)


def test_text_called_an_image_is_named(photos: Path) -> None:
    (photos / "cat" / "3.jpg").write_text("no image at all")
    assert "'photos/cat/3.jpg' is no sound image" in refused(photos)


def test_an_image_of_another_format_under_a_known_name_is_not_opened(photos: Path) -> None:
    Image.fromarray(pixels(4, 6)).save(photos / "cat" / "3.jpg", format="TIFF")
    assert "'photos/cat/3.jpg' is no sound image" in refused(photos)


def test_an_image_that_breaks_off_is_named(photos: Path) -> None:
    path = save(photos / "cat" / "3.jpg", pixels(64, 64))
    path.write_bytes(path.read_bytes()[:-400])
    assert "'photos/cat/3.jpg' is no sound image: image file is truncated" in refused(photos)


def test_sixteen_bits_are_not_cut_down_by_a_rule_nobody_chose(photos: Path) -> None:
    save(photos / "cat" / "3.png", np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000)
    assert "'photos/cat/3.png' is of Pillow's mode I;16" in refused(photos)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has this many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_bomb_is_refused_by_its_header(photos: Path, side: int) -> None:
    (photos / "cat" / "3.png").write_bytes(bomb(side, side))
    said = refused(photos)
    assert f"an image may have {MAX_PIXELS:,} pixels, 'photos/cat/3.png' has" in said


def test_a_file_of_any_length_is_not_read_whole(photos: Path) -> None:
    with (photos / "cat" / "3.png").open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    assert f"an image may have {MAX_FILE_BYTES:,} bytes" in refused(photos)


def test_names_with_newlines_cannot_forge_a_message(photos: Path) -> None:
    (photos / "cat" / "x\nerror: none.png").write_bytes(b"x")
    said = refused(photos)
    assert "\n" not in said
    assert r"x\nerror: none.png" in said


def test_a_newline_in_a_sound_image_s_name_is_no_trouble(photos: Path) -> None:
    save(photos / "c\nw" / "x\n.png", pixels(4, 6))
    samples = load_samples(photos, None, SIZE)
    assert samples.places[0] == r"'c\nw/x\n.png'"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow text alone as names")
@pytest.mark.parametrize("name", [b"\xff", b"cat/\xff.png"])
def test_a_name_that_is_no_text_is_refused(photos: Path, name: bytes) -> None:
    place = os.fsencode(photos) + b"/" + name
    if name.endswith(b".png"):
        with open(place, "wb") as stream:  # noqa: PTH123 - a Path takes no bytes
            stream.write(b"x")
    else:
        os.mkdir(place)  # noqa: PTH102 - the same
    assert "names must be UTF-8" in refused(photos)


@given(data=st.binary(max_size=400))
def test_no_bytes_end_otherwise_than_in_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    photos = tmp_path_factory.mktemp("photos")
    (photos / "cat").mkdir()
    (photos / "cat" / "1.png").write_bytes(data)
    assert "is no sound image" in refused(photos)


@given(
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]),
)
def test_a_changed_byte_gives_an_image_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, kind: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(16, 16)).save(buffer, format=kind)
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = value
    photos = tmp_path_factory.mktemp("photos")
    (photos / "cat").mkdir()
    (photos / "cat" / "1.png").write_bytes(data)
    try:
        assert load_samples(photos, None, SIZE).raw["X"].shape == (1, *SIZE)
    except DataUnusable as error:
        assert "photos" in str(error)


# --- many images ---------------------------------------------------------------------------


def test_many_images_lie_in_a_nameless_file_and_answer_alike(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_samples(photos, None, SIZE)
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr(large, "CHUNK_BYTES", 100)
    monkeypatch.setenv("TMPDIR", str(room))
    monkeypatch.setattr("tempfile.tempdir", None)
    many = load_samples(photos, None, SIZE)
    assert isinstance(many.raw["X"].base, np.memmap)
    assert list(room.iterdir()) == []
    np.testing.assert_array_equal(many.raw["X"], small.raw["X"])
    asked: dict[str, Any] = {"holdout": None, "split_by": None, "classification": True}
    for one, other in zip(
        vars(split_samples(many, **asked)).values(),
        vars(split_samples(small, **asked)).values(),
        strict=True,
    ):
        if one:
            np.testing.assert_array_equal(one.raw["X"], other.raw["X"])
            assert one.places.tolist() == other.places.tolist()


FULL = Path("/dev/full")


def full_disk() -> IO[bytes]:
    return FULL.open("r+b", buffering=0)


def test_a_full_disk_is_a_typed_error(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not FULL.exists():
        pytest.skip("this system has no device that is always full")
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full_disk())
    with pytest.raises(OutputUnwritable, match="bytes of rows must fit into"):
        load_samples(photos, None, SIZE)


def test_equal_images_of_two_folders_are_the_same_row(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "judge" / "cat" / "other-name.png", pixels(4, 6, 9))
    save(tmp_path / "judge" / "dog" / "new.png", pixels(4, 6, 55))
    split = split_samples(
        load_samples(photos, None, SIZE),
        holdout=load_samples(tmp_path / "judge", None, SIZE),
        split_by=None,
        classification=True,
    )
    assert split.dropped == 1
    assert (split.calibration.rows, split.held_out.rows) == (5, 2)

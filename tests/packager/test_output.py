"""Files appear whole, all of them, or not at all, and what stood there before still does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from host import tree

from edge_runtime.contract.errors import OutputUnwritable
from packager.output import appearing, require_writable, write_new


def test_files_take_their_names_together(tmp_path):
    first, second = tmp_path / "new" / "a", tmp_path / "new" / "b"
    with appearing(first, second) as (one, two):
        one.write_text("1")
        two.write_text("2")
        assert not first.exists()
        assert not second.exists()
    assert tree(tmp_path / "new") == {"a": b"1", "b": b"2"}


def test_new_content_replaces_the_old(tmp_path):
    (tmp_path / "a").write_text("old")
    with appearing(tmp_path / "a") as (one,):
        one.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_everything_is_as_it_was(tmp_path, error):
    (tmp_path / "a").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(error), appearing(tmp_path / "a", tmp_path / "b") as (one, _):
        one.write_text("new")
        raise error
    assert tree(tmp_path) == before


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "a").write_text("old")
    before = tree(tmp_path)
    with (
        pytest.raises(OutputUnwritable, match=r"/a is to be written.* No space"),
        appearing(tmp_path / "a"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("new")
    assert tree(tmp_path) == before


def test_a_directory_under_the_last_name_keeps_the_first_as_it_was(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    before = tree(tmp_path)
    with (
        pytest.raises(OutputUnwritable, match=r"/b is to be written.* directory"),
        appearing(tmp_path / "a", tmp_path / "b") as (one, two),
    ):
        one.write_text("new")
        two.write_text("new")
    assert tree(tmp_path) == before


def test_files_have_the_permissions_that_any_new_file_has(tmp_path):
    mask = os.umask(0o022)
    try:
        with appearing(tmp_path / "a") as (one,):
            one.write_text("1")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


# --- before a long build -------------------------------------------------------------------


def test_a_directory_that_is_still_to_be_made_is_writable_and_not_made(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert tree(tmp_path) == {}


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable, match="file is no directory"):
        require_writable(tmp_path / "file" / "dist")


def test_a_directory_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputUnwritable, match="may not be written") as caught:
        require_writable(tmp_path)
    assert "--out" in caught.value.hint


# --- files that must be new ----------------------------------------------------------------


def test_a_new_file_is_written(tmp_path):
    write_new(tmp_path / "packager.toml", "ü = 1\n")
    assert (tmp_path / "packager.toml").read_bytes() == "ü = 1\n".encode()


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "packager.toml").write_text("old")
    with pytest.raises(OutputUnwritable, match="must not be there yet, found one"):
        write_new(tmp_path / "packager.toml", "new")
    assert (tmp_path / "packager.toml").read_text() == "old"


def test_a_dangling_link_is_there_too(tmp_path):
    (tmp_path / "packager.toml").symlink_to("nowhere")
    with pytest.raises(OutputUnwritable, match="must not be there yet"):
        write_new(tmp_path / "packager.toml", "new")

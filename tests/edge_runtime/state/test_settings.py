"""Settings of one device: read back as they were set, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import SettingInvalid
from edge_runtime.state import settings as module
from edge_runtime.state.settings import FILE, Settings, changed, read, render
from edge_runtime.state.store import Store

names = st.text(min_size=1, max_size=64).filter(lambda text: "\x00" not in text)
settings = st.builds(
    Settings, threads=st.none() | st.integers(1, module.MAX_THREADS), variant=st.none() | names
)


@given(settings)
def test_settings_read_back_as_they_were_written(given_settings: Settings) -> None:
    assert module.parse(render(given_settings)) == given_settings


def test_assignments_change_and_clear_settings() -> None:
    found = changed(Settings(), ["threads=2", "variant=float32"])
    assert found == Settings(2, "float32")
    assert found.items() == [("threads", "2"), ("variant", "float32")]
    assert changed(found, ["threads="]) == Settings(None, "float32")
    assert changed(found, ["variant=", "threads=3"]) == Settings(3, None)
    assert changed(found, []) == found


@pytest.mark.parametrize(
    "assignment",
    [
        *("threads", "Threads=1", "=1", "", "threads=two", "threads=-1", "threads=1.5"),
        *("threads=\u0661", "threads= 1", "threads=99999", "precision=int8", "__class__=x"),
    ],
)
def test_what_is_no_setting_is_refused(assignment: str) -> None:
    with pytest.raises(SettingInvalid):
        changed(Settings(), [assignment])


def test_a_device_never_starts_more_threads_than_it_has() -> None:
    assert Settings().limited(4) == 4
    assert Settings(threads=2).limited(4) == 2
    assert Settings(threads=8).limited(4) == 4


def test_nothing_set_is_nothing_said(tmp_path: Path) -> None:
    assert read(tmp_path) == (Settings(), "")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0" * 40, b"[]", b'{"schema":"edgepack.settings/1"', b"{" * 5000),
        b'{"schema":"edgepack.settings/2","threads":2}',
        b'{"schema":"edgepack.settings/1","threads":0}',
        b'{"schema":"edgepack.settings/1","threads":"2"}',
        b'{"schema":"edgepack.settings/1","turbo":true}',
    ],
)
def test_damaged_settings_do_not_count_and_are_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    found, problem = read(tmp_path)
    assert found == Settings()
    assert problem.startswith("the settings do not count: ")


def test_settings_are_kept_whole_beside_the_record(store: Store) -> None:
    with store.writing() as writer:
        writer.stage("fraud", "c" * 64, lambda path: (path / "manifest.json").touch())
        writer.write_settings("fraud", Settings(2, "float32"))
    assert store.model("fraud").settings() == (Settings(2, "float32"), "")
    assert (store.model("fraud").path / FILE).stat().st_mode & 0o777 == 0o444

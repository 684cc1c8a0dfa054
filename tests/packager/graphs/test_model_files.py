"""Models as files: where a graph lies, so that the engine finds its weights."""

from __future__ import annotations

from pathlib import Path

import odd_graphs
from odd_graphs import of


def test_a_graph_that_holds_its_weights_is_placed_where_there_is_room(tmp_path: Path) -> None:
    model = of(odd_graphs.product())
    path = model.placed(tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes() == model.graph
    assert model.placed(tmp_path) == path
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_with_weights_is_placed_beside_them(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    model = odd_graphs.beside(tmp_path)
    path = model.placed(tmp_path / "room")
    assert path.parent == tmp_path
    assert list((tmp_path / "room").iterdir()) == []


def test_a_graph_that_another_process_may_be_reading_is_left_alone(tmp_path: Path) -> None:
    model = odd_graphs.beside(tmp_path)
    first = model.placed(tmp_path).stat()
    model.open_mapped()
    again = model.placed(tmp_path).stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)

"""The support file: all that helps, whatever is broken, and nothing that names anybody."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import devices
import pytest
import sticks
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.state.store import Store
from edge_runtime.support import Redaction

UNIQUE_CELL = "813467.25"


def written(store: Store, out: Path) -> tuple[dict[str, Any], str]:
    """Run the command; return the file's document and text."""
    said = devices.run("--store", store.root, "support", "--out", out, "--json")
    assert said.code == 0, said.out
    return contents(Path(said.json["path"]))


def contents(path: Path) -> tuple[dict[str, Any], str]:
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["support.txt", "support.json"]
        text, document = (archive.extractfile(name) for name in archive.getnames())
        assert text is not None
        assert document is not None
        return json.loads(document.read()), text.read().decode()


@pytest.fixture
def used(store: Store, tmp_path: Path) -> Store:
    """A store whose model predicted, and refused a row."""
    header = "income (k€),visits,plan\n"
    (tmp_path / "rows.csv").write_text(f"{header}{UNIQUE_CELL},1,gold\n")
    (tmp_path / "bad.csv").write_text(f"{header}{UNIQUE_CELL}x,1,gold\n")
    for name, code in (("rows.csv", 0), ("bad.csv", 3)):
        said = devices.run(
            *("--store", store.root, "predict", "--input", tmp_path / name),
            *("--output", tmp_path / "answers.csv"),
        )
        assert said.code == code
    return store


def test_it_holds_all_that_helps(used: Store, tmp_path: Path) -> None:
    document, text = written(used, tmp_path)
    assert document["schema"] == "edgepack.support/1"
    assert document["device"]["engine"]["name"].startswith("onnxruntime")
    (model,) = document["models"]
    assert model["active"]["version"] == "1.4.0"
    assert model["history"][0]["action"] == "activated"
    assert document["check"]["findings"] == []
    assert document["metrics"]["predictions"] == 1
    assert document["windows"][0]["errors"] == {"input-value": 1}
    digest = model["active"]["digest"]
    assert document["trials"]["loan"][digest][0]["reason"] == "golden vectors hold"
    listed = {item["path"]: item for item in document["files"]["listed"]}
    assert listed[f"models/loan/versions/{digest}/manifest.json"]["mode"] == "100444"
    assert document["keys"] == [bundles.SIGNER.public_key.fingerprint]
    assert text.startswith("edge-runtime ")
    assert "! nothing is known to be wrong\n" in text
    assert "loan" in text
    assert digest in text


def test_what_is_wrong_stands_first(used: Store, tmp_path: Path) -> None:
    path = next(used.root.rglob("golden.npz"))
    path.chmod(0o644)
    path.write_bytes(b"x")
    said = devices.run("--store", used.root, "support", "--out", tmp_path)
    assert said.code == 0
    assert "\n  loan 1.4.0: " in said.out
    _, text = contents(tmp_path / "edge-support-001.tar.gz")
    assert text.splitlines()[2].startswith("! loan 1.4.0: ")


def test_it_holds_no_rows_no_key_and_no_names(used: Store, tmp_path: Path) -> None:
    """The store lies in a user's home, and strings that name somebody lie wherever they can."""
    home = tmp_path / "home/alice"
    shutil.copytree(used.root, home / "store")
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n"
    (home / "store/trust/keys/release.key").write_text(key)
    (home / "store/models/loan/versions" / f"alice@{os.uname().nodename}").mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "USER": "alice",
        "PYTHONPATH": str(sticks.CHECKOUT),
    }
    words = ["-m", "edge_runtime", "--store", str(home / "store"), "support", "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document, text = contents(tmp_path / "edge-support-001.tar.gz")
    everything = json.dumps(document) + text
    for forbidden in (UNIQUE_CELL, "alice", "MIGHAgEA", "BEGIN", str(home)):
        assert forbidden not in everything
    if len(os.uname().nodename) > 1:
        assert f"@{os.uname().nodename}" not in everything
    pem = next((used.root / "trust/keys").glob("*.pem")).read_text().splitlines()[1]
    assert pem not in everything
    assert document["store"]["root"] == "~/store"
    # The stranger among the keys is told all the same.
    assert document["keys"]["error"]["code"] == "store-corrupt"


def test_the_archive_names_nobody_either(used: Store, tmp_path: Path) -> None:
    written(used, tmp_path)
    path = tmp_path / "edge-support-001.tar.gz"
    assert path.read_bytes()[4:8] == bytes(4)  # gzip's time
    with tarfile.open(path) as archive:
        for item in archive:
            assert (item.mtime, item.uid, item.gid) == (0, 0, 0)
            assert (item.uname, item.gname) == ("", "")
    assert b"support" not in gzip.decompress(path.read_bytes())[257:512]


def test_it_reads_the_store_and_writes_none_of_it(used: Store, tmp_path: Path) -> None:
    before = devices.snapshot(used.root)
    written(used, tmp_path)
    assert devices.snapshot(used.root) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: shutil.rmtree(root),
        lambda root: shutil.rmtree(root / "models/loan/versions"),
        lambda root: [path.write_bytes(b"\0") for path in copies(root)],
        lambda root: (root / "models/loan/versions").rename(root / "gone"),
        lambda root: [path.unlink() for path in (root / "trust/keys").iterdir()],
        lambda root: (root / "models/loan/metrics").rmdir(),
        lambda root: (root / "trust/keys/x").mkdir(),
    ],
    ids=[
        "no store",
        "no versions",
        "torn record",
        "moved",
        "no keys",
        "no metrics",
        "stranger",
    ],
)
def test_a_broken_store_is_told_and_not_an_error(
    store: Store, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    for path in copies(store.root):
        path.chmod(0o644)
    damage(store.root)
    document, text = written(store, tmp_path)
    assert set(document) >= {"device", "store", "keys", "models", "check", "metrics", "files"}
    assert text
    assert "bug" not in [
        part["error"]["code"]
        for part in document.values()
        if isinstance(part, dict) and "error" in part
    ]


def copies(root: Path) -> list[Path]:
    return sorted((root / "models/loan").glob("state-*.json"))


def test_a_place_on_the_store_s_own_disk_is_warned_of(store: Store, tmp_path: Path) -> None:
    said = devices.run("--store", store.root, "support", "--out", tmp_path)
    assert "is the stick mounted?" in said.err
    assert said.out.startswith(f"written: {tmp_path / 'edge-support-001.tar.gz'}\n")
    with sticks.mounted(tmp_path, "ext4") as stick:
        other = devices.run("--store", store.root, "support", "--out", stick)
        assert (other.code, other.err) == (0, "")


def test_a_stick_that_is_not_there_is_a_typed_error(store: Store, tmp_path: Path) -> None:
    said = devices.run("--store", store.root, "support", "--out", tmp_path / "usb")
    assert said.code == 3
    assert said.err.startswith("error[output-unwritable]: ")


# --- redaction -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/home/bob/models/x.tar cannot be read", "~/models/x.tar cannot be read"),
        ("/Users/bob: no space", "~: no space"),
        ("ask bob.smith@example.com", "ask <address>"),
        ("from 10.1.22.3 port 22", "from <address> port 22"),
        ("aa:bb:cc:dd:ee:0f went away", "<address> went away"),
        ("version 1.32.0 of 6.1.0-18-arm64", "version 1.32.0 of 6.1.0-18-arm64"),
        ("-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----\n.", "<key>\n."),
        ("-----BEGIN EC PRIVATE KEY-----\nabc", "<key>"),
    ],
)
def test_what_names_somebody_is_taken_out(
    monkeypatch: pytest.MonkeyPatch, text: str, redacted: str
) -> None:
    monkeypatch.setenv("HOME", "/root")
    assert Redaction().text(text) == redacted


def test_users_are_taken_out_as_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ali")
    assert Redaction().text("ali: validated by /srv/ali") == "<user>: validated by /srv/<user>"


@given(st.text(min_size=2).filter(str.isalnum), st.text(), st.text())
def test_whatever_a_user_is_called_the_name_does_not_stand_there(
    name: str, before: str, after: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUDO_USER", name.replace("\0", "x"))
        found = Redaction().text(f"{before} {name} {after}")
    assert f" {name} " not in found or name in ("root", "nobody", "localhost")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_the_shape_of_a_document_stays(value: Any) -> None:
    found = Redaction().of(value)
    assert type(found) is type(value)
    assert json.loads(json.dumps(found)) == found

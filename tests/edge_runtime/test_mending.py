"""A damaged store is mended from a bundle of the same digests; nothing else of it changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import bundles
import devices
import pytest
from sticks import payload_damaged, release

from edge_runtime.state.store import Store

Snapshot = dict[str, tuple[int, bytes]]


@pytest.fixture
def serving(store: Store) -> Snapshot:
    """What the store holds as long as nothing is damaged."""
    return devices.snapshot(store.root)


def verified(store: Store, *more: Path | str) -> devices.Said:
    return devices.run("--store", store.root, "verify", *more)


def version(store: Store) -> Path:
    (found,) = store.model("loan").versions.iterdir()
    return found


def payload_changed(store: Store) -> None:
    path = version(store) / "golden.npz"
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)


def manifest_absent(store: Store) -> None:
    (version(store) / "manifest.json").unlink()


def stranger_inside(store: Store) -> None:
    (version(store) / "variants/more.onnx").write_bytes(b"x")


def file_writable(store: Store) -> None:
    (version(store) / "golden.npz").chmod(0o666)


def signature_cut(store: Store) -> None:
    path = version(store) / "model.sig"
    path.chmod(0o644)
    path.write_bytes(b"")


def link_inside(store: Store) -> None:
    path = version(store) / "golden.npz"
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "damage",
    [
        payload_changed,
        manifest_absent,
        stranger_inside,
        file_writable,
        signature_cut,
        link_inside,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_version_gets_its_bytes_back_and_nothing_else_changes(
    store: Store, bundle: Path, serving: Snapshot, damage: Callable[[Store], None]
) -> None:
    damage(store)
    assert verified(store).code in (4, 5)
    said = verified(store, "--repair", bundle, "--json")
    assert said.code == 0, said.out
    (mended,) = said.json["mended"]
    assert mended["from"] == str(bundle)
    assert devices.snapshot(store.root) == serving
    assert verified(store).code == 0


def test_a_sound_store_is_left_alone(store: Store, bundle: Path, serving: Snapshot) -> None:
    said = verified(store, "--repair", bundle)
    assert said.code == 0
    assert said.out.startswith("nothing was mended\nverified: 1 version, ")
    assert devices.snapshot(store.root) == serving


def test_a_version_that_is_gone_comes_back(store: Store, bundle: Path, tmp_path: Path) -> None:
    release(tmp_path / "next.tar", "1.5.0", description="Next.")
    assert devices.run("--store", store.root, "install", tmp_path / "next.tar").code == 0
    before = devices.snapshot(store.root)
    active = store.model("loan").read().state.active
    assert active is not None
    shutil.rmtree(store.model("loan").version(active.digest))
    wrong = verified(store, "--repair", bundle)
    assert wrong.code == 5
    assert wrong.out.startswith("nothing was mended\nNOT as installed: 1 finding\n")
    assert "hint: Mend it: edge-runtime verify --repair BUNDLE" in wrong.err
    assert verified(store, "--repair", tmp_path / "next.tar").code == 0
    assert devices.snapshot(store.root) == before


def test_the_right_bundle_is_found_on_a_stick_of_many(
    store: Store, bundle: Path, serving: Snapshot, tmp_path: Path
) -> None:
    stick = tmp_path / "usb"
    stick.mkdir()
    payload_damaged(release(stick / "a.oci.tar", "1.4.0"))
    release(stick / "newer.oci.tar", "1.5.0")
    release(stick / "stranger.oci.tar", "1.4.0", signer=bundles.STRANGER)
    shutil.copy(bundle, stick / "z.oci.tar")
    payload_changed(store)
    said = verified(store, "--repair", stick)
    assert said.code == 0, said.err
    assert said.out.splitlines()[0] == f"mended: loan 1.4.0 from {stick / 'z.oci.tar'}"
    assert "  skipped damaged    a.oci.tar: " in said.out
    assert "  skipped untrusted  stranger.oci.tar: " in said.out
    assert devices.snapshot(store.root) == serving


def test_a_bundle_that_cannot_be_believed_mends_nothing(
    store: Store, bundle: Path, tmp_path: Path
) -> None:
    shutil.copy(bundle, tmp_path / "b.tar")
    payload_damaged(tmp_path / "b.tar")
    payload_changed(store)
    before = devices.snapshot(store.root)
    said = verified(store, "--repair", tmp_path / "b.tar")
    assert said.code == 4
    assert said.err.startswith("error[digest-mismatch]: ")
    assert devices.snapshot(store.root) == before


def test_a_torn_copy_of_the_record_is_written_again(store: Store, bundle: Path) -> None:
    path = store.model("loan").path / "state-a.json"
    path.chmod(0o644)
    path.write_bytes(b"x")
    state = store.model("loan").read().state
    assert verified(store, "--repair", bundle).code == 0
    assert verified(store).code == 0
    after = store.model("loan").read()
    assert (after.state.active, after.degraded) == (state.active, "")


def test_a_lost_record_is_not_guessed(store: Store, bundle: Path) -> None:
    for path in store.model("loan").path.glob("state-*.json"):
        path.unlink()
    said = verified(store, "--repair", bundle)
    assert said.code == 5
    assert "edge-runtime install BUNDLE" in said.err
    assert devices.run("--store", store.root, "install", bundle).code == 0
    assert verified(store).code == 0


def test_a_running_program_keeps_its_version_while_it_is_mended(
    store: Store, bundle: Path
) -> None:
    with (version(store) / "golden.npz").open("rb") as stream:
        payload_changed(store)
        wrong = stream.read()
        assert verified(store, "--repair", bundle).code == 0
        stream.seek(0)
        assert stream.read() == wrong


def test_checking_and_mending_exclude_each_other(store: Store, bundle: Path) -> None:
    said = verified(store, bundle, "--repair", bundle)
    assert said.code == 2

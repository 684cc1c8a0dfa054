"""The whole store is checked: every kind of damage is found, by its place, and by the worst."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import bundles
import devices
import pytest
from sticks import release

from edge_runtime.checking import check_store
from edge_runtime.contract.errors import StoreUnreadable
from edge_runtime.contract.units import size
from edge_runtime.state.record import proven_good
from edge_runtime.state.store import Store


def verified(store: Store, *more: Path | str) -> devices.Said:
    return devices.run("--store", store.root, "verify", *more)


def version(store: Store) -> Path:
    """Return the directory of the one installed version."""
    (found,) = store.model("loan").versions.iterdir()
    return found


def test_a_sound_store_is_said_to_be_sound_with_all_that_was_read(store: Store) -> None:
    said = verified(store, "--json")
    assert said.code == 0
    (found,) = said.json["versions"]
    files = [path for path in version(store).rglob("*.*") if path.suffix in (".onnx", ".npz")]
    count = sum(path.stat().st_size for path in files)
    assert found == {
        "name": "loan",
        "version": "1.4.0",
        "digest": version(store).name,
        "role": "serves",
        "files": 2,
        "bytes": count,
        "sound": True,
    }
    assert said.json["notes"] == []
    plain = verified(store)
    assert plain.out == (
        f"verified: 1 version, {size(count)}\n"
        f"  store       {store.root} (named by --store)\n"
        f"  keys        1 trusted\n"
        f"  loan 1.4.0  sound, serves, {size(count)}\n"
    )


def test_checking_writes_nothing(store: Store) -> None:
    before = devices.snapshot(store.root)
    verified(store)
    assert devices.snapshot(store.root) == before


def test_a_store_that_is_not_there_is_not_sound(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="there is none"):
        check_store(Store(tmp_path / "none", "named by the test"))


# --- each kind of damage -------------------------------------------------------------------


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def payload_flipped(store: Store) -> str:
    flipped(version(store) / "variants/float32.onnx")
    return "loan 1.4.0"


def golden_vectors_flipped(store: Store) -> str:
    flipped(version(store) / "golden.npz")
    return "loan 1.4.0"


def manifest_flipped(store: Store) -> str:
    flipped(version(store) / "manifest.json")
    return f"loan {version(store).name[:16]}…"


def signature_flipped(store: Store) -> str:
    flipped(version(store) / "model.sig")
    return "loan 1.4.0"


def file_absent(store: Store) -> str:
    (version(store) / "golden.npz").unlink()
    return "loan 1.4.0"


def file_too_many(store: Store) -> str:
    (version(store) / "variants/more.onnx").write_bytes(b"x")
    return "loan 1.4.0"


def file_writable(store: Store) -> str:
    (version(store) / "golden.npz").chmod(0o644)
    return "loan 1.4.0"


def directory_writable(store: Store) -> str:
    (version(store) / "variants").chmod(0o775)
    return "loan 1.4.0"


def file_linked(store: Store) -> str:
    os.link(version(store) / "golden.npz", store.root.parent / "second-name")
    return "loan 1.4.0"


def file_replaced_by_a_link(store: Store) -> str:
    path = version(store) / "golden.npz"
    shutil.copy(path, store.root.parent / "elsewhere")
    path.unlink()
    path.symlink_to(store.root.parent / "elsewhere")
    return "loan 1.4.0"


def version_absent(store: Store) -> str:
    release(store.root.parent / "next.tar", "1.5.0", description="Next.")
    said = devices.run("--store", store.root, "install", store.root.parent / "next.tar")
    assert said.code == 0, said.err
    state = store.model("loan").read().state
    assert state.active is not None
    shutil.rmtree(store.model("loan").version(state.active.digest))
    return "loan 1.5.0"


def stranger_among_the_versions(store: Store) -> str:
    (store.model("loan").versions / "backup").mkdir()
    return "loan"


def copy_of_the_record_torn(store: Store) -> str:
    path = store.model("loan").path / "state-a.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:40])
    path.chmod(0o444)
    return "loan"


def record_lost(store: Store) -> str:
    for path in store.model("loan").path.glob("state-*.json"):
        path.unlink()
    return "loan"


def record_writable_by_others(store: Store) -> str:
    (store.model("loan").path / "state-a.json").chmod(0o666)
    return "models/loan/state-a.json"


def link_in_the_store(store: Store) -> str:
    (store.root / "models/more").symlink_to(store.root / "models/loan")
    return "models/more"


def store_writable_by_others(store: Store) -> str:
    store.root.chmod(0o777)
    return "."


def key_changed(store: Store) -> str:
    flipped(next((store.root / "trust/keys").iterdir()))
    return "trust"


def no_key(store: Store) -> str:
    next((store.root / "trust/keys").iterdir()).unlink()
    return "trust"


DAMAGES: dict[Callable[[Store], str], tuple[str, int]] = {
    payload_flipped: ("digest-mismatch", 4),
    golden_vectors_flipped: ("digest-mismatch", 4),
    manifest_flipped: ("digest-mismatch", 4),
    signature_flipped: ("signature-invalid", 4),
    file_absent: ("store-corrupt", 5),
    file_too_many: ("store-corrupt", 5),
    file_writable: ("store-corrupt", 5),
    directory_writable: ("store-corrupt", 5),
    file_linked: ("store-corrupt", 5),
    file_replaced_by_a_link: ("store-corrupt", 5),
    version_absent: ("store-corrupt", 5),
    stranger_among_the_versions: ("store-corrupt", 5),
    copy_of_the_record_torn: ("store-corrupt", 5),
    record_lost: ("store-corrupt", 5),
    record_writable_by_others: ("store-corrupt", 5),
    link_in_the_store: ("store-corrupt", 5),
    store_writable_by_others: ("store-corrupt", 5),
    key_changed: ("store-corrupt", 5),
    no_key: ("no-trusted-key", 4),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_at_its_place(store: Store, damage: Callable[[Store], str]) -> None:
    place, (code, exit_code) = damage(store), DAMAGES[damage]
    before = devices.snapshot(store.root)
    said = verified(store, "--json")
    assert said.code == exit_code, said.out
    error = said.json["error"]
    assert (error["code"], error["message"].split(": ")[0]) == (code, place)
    assert [item["place"] for item in error["values"]["findings"]] == [place]
    plain = verified(store)
    assert plain.code == exit_code
    assert plain.out.startswith("NOT as installed: 1 finding\n")
    assert plain.err.startswith(f"error[{code}]: {place}: ")
    assert devices.snapshot(store.root) == before


def test_one_damage_does_not_hide_another_and_what_serves_comes_first(
    store: Store, tmp_path: Path
) -> None:
    with store.writing() as writer:
        writer.update("loan", proven_good)
    release(tmp_path / "next.tar", "1.5.0", description="Next.")
    assert devices.run("--store", store.root, "install", tmp_path / "next.tar").code == 0
    for path in store.model("loan").versions.glob("*/golden.npz"):
        flipped(path)
    (store.root / "trust").chmod(0o777)
    said = verified(store)
    assert said.code == 4
    assert said.err.splitlines()[0].endswith("; 3 findings in all")
    assert said.err.startswith("error[digest-mismatch]: loan 1.5.0: golden.npz ")
    assert "\n  loan 1.4.0  DAMAGED, to go back to, " in said.out
    assert "\n  loan 1.5.0  DAMAGED, serves, " in said.out
    assert "\n  trust: " in said.out


def test_a_signer_that_is_not_trusted_any_more_is_found(store: Store, tmp_path: Path) -> None:
    (tmp_path / "other.pub").write_bytes(bundles.STRANGER.public_key.pem)
    said = verified(store, "--trust", tmp_path / "other.pub")
    assert said.code == 4
    assert said.err.startswith("error[signer-untrusted]: loan 1.4.0: ")
    assert "--repair" not in said.err
    devices.run("--store", store.root, "trust", "add", tmp_path / "other.pub")
    fingerprint = bundles.SIGNER.public_key.fingerprint
    devices.run("--store", store.root, "trust", "remove", fingerprint)
    assert verified(store).err.startswith("error[signer-untrusted]: loan 1.4.0: ")


def test_what_an_interrupted_command_left_is_a_note(store: Store) -> None:
    store.incoming.mkdir()
    (store.incoming / "half").write_bytes(b"x")
    said = verified(store, "--json")
    assert said.code == 0
    assert len(said.json["notes"]) == 1


def test_a_damaged_log_is_a_note(store: Store) -> None:
    (store.model("loan").metrics / "stranger").write_bytes(b"x")
    said = verified(store, "--json")
    assert said.code == 0
    assert said.json["notes"][0].startswith("loan, metrics: ")


def test_metrics_and_loads_are_for_others_to_write(store: Store) -> None:
    for name in ("metrics", "loads"):
        directory = store.model("loan").path / name
        directory.chmod(0o2775)
        (directory / "x").write_bytes(b"")
        (directory / "x").chmod(0o666)
    assert verified(store).code == 0


def test_others_who_may_read_can_check(
    prepared: Path, public_directory: Path, as_nobody: Callable[..., object]
) -> None:
    shutil.copytree(prepared / "store", public_directory / "store")
    store = Store(public_directory / "store", "named by the test")
    assert as_nobody(lambda: len(check_store(store).findings)) == 0


def test_the_json_of_a_finding_is_whole(store: Store) -> None:
    payload_flipped(store)
    (finding,) = json.loads(verified(store, "--json").out)["error"]["values"]["findings"]
    assert set(finding) == {"place", "code", "message", "hint", "digest"}
    assert finding["digest"] == version(store).name

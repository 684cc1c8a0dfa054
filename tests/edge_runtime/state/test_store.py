"""Where the store is, who may write to it, and what is left when writing fails."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract.errors import (
    DigestMismatch,
    EdgepackError,
    NoSpace,
    NotInstalled,
    RefAmbiguous,
    StoreBusy,
    StoreCorrupt,
    StoreUnreadable,
    StoreUnwritable,
)
from edge_runtime.state import disk
from edge_runtime.state.loads import Loads
from edge_runtime.state.record import reverified
from edge_runtime.state.store import Store, StoreWriter, locate_store

Install = Callable[..., str]
DIGEST = "d" * 64


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every entry below a directory with its mode and content."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def make_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# --- where it is ---------------------------------------------------------------------------


def test_the_store_named_on_the_command_line_wins(tmp_path: Path) -> None:
    found = locate_store(tmp_path, {"EDGE_STORE": "/elsewhere"}, tmp_path)
    assert (found.root, found.origin) == (tmp_path, "named by --store")


def test_then_the_environment(tmp_path: Path) -> None:
    found = locate_store(None, {"EDGE_STORE": str(tmp_path / "e")}, tmp_path)
    assert (found.root, found.origin) == (tmp_path / "e", "named by $EDGE_STORE")


def test_then_the_machine_where_it_has_one(tmp_path: Path) -> None:
    found = locate_store(None, {"EDGE_STORE": "", "HOME": "/home/u"}, tmp_path)
    assert (found.root, found.origin) == (tmp_path, f"{tmp_path} exists")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/home/u"}, "/home/u/.local/state/edge-runtime"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/state"}, "/state/edge-runtime"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "odd"}, "/home/u/.local/state/edge-runtime"),
    ],
)
def test_else_the_users_own(environ: dict[str, str], expected: str, tmp_path: Path) -> None:
    found = locate_store(None, environ, tmp_path / "absent")
    assert str(found.root) == expected
    assert "does not exist" in found.origin


def test_without_any_home_the_store_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable) as caught:
        locate_store(None, {}, tmp_path / "absent")
    assert "--store" in caught.value.hint


# --- reading -------------------------------------------------------------------------------


def test_a_store_that_is_not_there_holds_nothing_and_is_not_made(store: Store) -> None:
    assert store.models() == ()
    assert store.trust.fingerprints() == ()
    with pytest.raises(NotInstalled, match=r"named by the test.* holds no model"):
        store.resolve(None)
    assert not store.root.exists()


def test_references_find_the_active_version_a_named_one_and_the_only_model(
    store: Store, install: Install
) -> None:
    with store.writing() as writer:
        old = install(writer, version="1.4.0")
        new = install(writer, version="1.5.0", release=1_005_000)
    for ref, digest in ((None, new), ("fraud", new), ("fraud@1.4.0", old), ("fraud@", new)):
        model, choices = store.resolve(ref)
        assert (model.name, choices) == ("fraud", (digest,))
    with pytest.raises(
        NotInstalled, match=r"version 2 of fraud .* installed: 1\.5\.0, 1\.4\.0"
    ):
        store.resolve("fraud@2")
    with pytest.raises(NotInstalled, match="holds fraud"):
        store.resolve("../fraud")


def test_several_models_must_be_told_apart(store: Store, install: Install) -> None:
    with store.writing() as writer:
        install(writer, name="fraud")
        install(writer, name="churn")
    with pytest.raises(RefAmbiguous, match="churn, fraud"):
        store.resolve(None)


def test_an_install_cut_short_leaves_no_model_that_would_be_listed(
    store: Store, install: Install
) -> None:
    with store.writing() as writer:
        install(writer, name="fraud")
    (store.root / "models" / "half" / "versions").mkdir(parents=True)
    (store.root / "models" / "._fraud").mkdir()
    assert store.models() == ("fraud",)


# --- writing -------------------------------------------------------------------------------


def test_a_model_whose_only_version_is_gone_is_still_one_that_has_to_serve(
    store: Store, install: Install
) -> None:
    # A repair that was cut short leaves it so: the damaged one is away, the new one not there.
    with store.writing() as writer:
        digest = install(writer)
    disk.remove_tree(store.model("fraud").version(digest))
    assert store.models() == ("fraud",)
    assert store.model("fraud").choices() == (digest,)


def test_a_failing_disk_while_old_marks_are_forgotten_is_a_typed_error(
    store: Store, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with store.writing() as writer:
        install(writer)
        monkeypatch.setattr(Loads, "forget", fail)
        with pytest.raises(StoreUnwritable, match="Input/output error"):
            install(writer, version="1.5.0", release=1_005_000)


def test_a_staged_package_appears_whole_and_read_only(store: Store, install: Install) -> None:
    with store.writing() as writer:
        digest = install(writer)
    directory = store.model("fraud").version(digest)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o7777 for path in files} == {0o444}
    assert {path.stat().st_mode & 0o7777 for path in (directory, directory / "variants")} == {
        0o755
    }
    assert not store.incoming.exists()


def test_staging_again_does_not_fill_again(store: Store, install: Install) -> None:
    def fail(_: Path) -> None:
        raise AssertionError

    with store.writing() as writer:
        digest = install(writer)
        before = snapshot(store.root)
        assert writer.stage("fraud", digest, fail) == store.model("fraud").version(digest)
    assert snapshot(store.root) == before


@pytest.mark.parametrize(
    "error",
    [
        DigestMismatch("signed and found differ", hint=""),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
    ],
)
def test_a_package_that_fails_leaves_the_store_as_it_was(
    store: Store, install: Install, error: BaseException
) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_bytes(b"x" * 4096)
        raise error

    with store.writing() as writer:
        install(writer)
        before = snapshot(store.root)
        with pytest.raises((EdgepackError, KeyboardInterrupt)):
            writer.stage("other", DIGEST, fail)
    assert snapshot(store.root) == before


def test_a_full_disk_is_said_before_a_byte_is_written(store: Store) -> None:
    with store.writing() as writer:
        before = snapshot(store.root)
        with pytest.raises(NoSpace, match=r"needs 1073741824.0 GiB beside .* stay, .* free"):
            writer.stage("fraud", DIGEST, lambda _: None, size=1 << 60)
    assert snapshot(store.root) == before


def test_leftovers_of_a_broken_run_are_removed_by_the_next_writer(
    store: Store, install: Install
) -> None:
    (store.incoming / DIGEST / "variants").mkdir(parents=True)
    (store.incoming / DIGEST / "variants" / "half").write_bytes(b"x")
    with store.writing() as writer:
        assert not store.incoming.exists()
        install(writer)


def test_a_damaged_version_is_mended_without_writing_into_it(
    store: Store, install: Install
) -> None:
    def fill(directory: Path) -> None:
        (directory / "manifest.json").write_bytes(b"whole")

    with store.writing() as writer:
        digest = install(writer)
        directory = store.model("fraud").version(digest)
        with (directory / "manifest.json").open("rb") as opened:
            before = opened.read()
            writer.stage("fraud", digest, fill, mend=True)
            opened.seek(0)
            assert opened.read() == before
    assert [path.name for path in directory.iterdir()] == ["manifest.json"]
    assert (directory / "manifest.json").read_bytes() == b"whole"
    assert not store.incoming.exists()


def test_links_in_a_package_are_refused(store: Store) -> None:
    with store.writing() as writer, pytest.raises(StoreCorrupt):
        writer.stage("fraud", DIGEST, lambda path: (path / "x").symlink_to("/etc/passwd"))
    assert store.models() == ()


def test_activation_remembers_the_keys_that_were_trusted(
    store: Store, install: Install
) -> None:
    with store.writing() as writer:
        key, _ = writer.add_key(make_key())
        install(writer)
        active = store.model("fraud").read().state.active
        assert active is not None
        assert active.trust == store.trust.digest()
        writer.remove_key(key.fingerprint)
        assert active.trust != store.trust.digest()
        writer.update("fraud", lambda s: reverified(s, active.digest, store.trust.digest()))
    active = store.model("fraud").read().state.active
    assert active is not None
    assert active.trust == store.trust.digest()


def test_what_is_worth_keeping_but_no_failure_says_why_it_was_not_kept(
    store: Store, install: Install, tmp_path: Path
) -> None:
    with store.writing() as writer:
        digest = install(writer)

    def write(writer: StoreWriter) -> None:
        writer.write_local("fraud", digest, "engine-cpu", "verdict.json", b"{}")

    assert store.keep(write) == ""
    assert store.model("fraud").read_local(digest, "engine-cpu", "verdict.json") == b"{}"
    with store.writing():
        assert "is writing to the store" in store.keep(write)
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in Store(tmp_path / "file" / "store", "by the test").keep(write)
    with pytest.raises(StoreCorrupt):
        store.keep(lambda writer: writer.stage("x", DIGEST, lambda at: os.mkfifo(at / "x")))


def test_what_the_device_makes_for_itself_is_kept_apart(store: Store, install: Install) -> None:
    with store.writing() as writer:
        digest = install(writer)
        before = snapshot(store.model("fraud").versions)
        writer.write_local("fraud", digest, "onnxruntime-1.32.0-ab", "verdict.json", b"{}")
    model = store.model("fraud")
    assert model.read_local(digest, "onnxruntime-1.32.0-ab", "verdict.json") == b"{}"
    assert model.read_local(digest, "onnxruntime-1.33.0-ab", "verdict.json") is None
    assert snapshot(model.versions) == before


def test_a_second_writer_is_refused_and_readers_are_not(store: Store, install: Install) -> None:
    with store.writing() as writer:
        digest = install(writer)
        with pytest.raises(StoreBusy), store.writing():
            pass
        assert store.resolve("fraud")[1] == (digest,)


# --- root installs, an unprivileged user predicts and logs -----------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_an_unprivileged_user_reads_everything_and_writes_only_what_is_shared(
    public_directory: Path, install: Install, as_nobody: Callable[..., Any], umask: int
) -> None:
    group = 23456
    root = public_directory / "store"
    root.mkdir()
    root.chmod(0o755)
    os.chown(root, 0, group)
    store = Store(root, "named by the test")
    before = os.umask(umask)
    try:
        with store.writing() as writer:
            key, _ = writer.add_key(make_key())
            digest = install(writer)
            writer.write_local("fraud", digest, "engine-cpu", "verdict.json", b"{}")
    finally:
        os.umask(before)
    model = store.model("fraud")
    for shared in (model.metrics, model.loads.directory):
        assert stat.S_IMODE(shared.stat().st_mode) == 0o2775
        assert shared.stat().st_gid == group

    def predict() -> dict[str, Any]:
        os.umask(0o022)
        (model.metrics / "segment").write_bytes(b"line\n")
        trusted = store.trust.keys()
        return {
            "digests": store.resolve("fraud")[1],
            "verdict": (model.read_local(digest, "engine-cpu", "verdict.json") or b"").decode(),
            "version": [item.problem for item in model.installed()],
            "weights": len((model.version(digest) / "variants/float32.onnx").read_bytes()),
            "degraded": model.read().degraded,
            "keys": [item.fingerprint for item in trusted],
        }

    assert as_nobody(predict, group) == {
        "digests": [digest],
        "verdict": "{}",
        "version": [""],
        "weights": 7000,
        "degraded": "",
        "keys": [key.fingerprint],
    }
    assert (model.metrics / "segment").stat().st_gid == group

    writable = as_nobody(
        lambda: [str(path) for path in [root, *root.rglob("*")] if os.access(path, os.W_OK)],
        group,
    )
    shared = [model.loads.directory, model.metrics, model.metrics / "segment"]
    assert sorted(writable) == [str(path) for path in shared]


def test_an_unprivileged_user_is_told_why_he_cannot_write(
    public_directory: Path, install: Install, as_nobody: Callable[..., Any]
) -> None:
    store = Store(public_directory / "store", "named by the test")
    with store.writing() as writer:
        install(writer)

    def attempt() -> list[str]:
        try:
            with store.writing():
                return ["wrote"]
        except StoreUnwritable as error:
            return [error.message, error.hint]

    message, hint = as_nobody(attempt)
    assert "cannot be written by user 65534: Permission denied" in message
    assert "owner" in hint


def test_an_unprivileged_user_outside_the_group_cannot_even_log(
    public_directory: Path, install: Install, as_nobody: Callable[..., Any]
) -> None:
    store = Store(public_directory / "store", "named by the test")
    with store.writing() as writer:
        install(writer)
    metrics = store.model("fraud").metrics
    assert not as_nobody(lambda: os.access(metrics, os.W_OK))


def test_a_trust_directory_that_may_not_be_read_is_an_error_and_not_an_empty_one(
    public_directory: Path, as_nobody: Callable[..., Any]
) -> None:
    store = Store(public_directory / "store", "named by the test")
    with store.writing() as writer:
        writer.add_key(make_key())
    (store.root / "trust" / "keys").chmod(0o700)

    def attempt() -> str:
        try:
            return f"read {store.trust.keys()}"
        except StoreUnreadable as error:
            return error.code

    assert as_nobody(attempt) == "store-unreadable"


def test_the_group_of_the_store_may_change_later(
    public_directory: Path, install: Install, as_nobody: Callable[..., Any]
) -> None:
    del as_nobody  # asked for, because only root can give a directory away
    store = Store(public_directory / "store", "named by the test")
    with store.writing() as writer:
        install(writer)
        os.chown(store.root, -1, 23456)
        install(writer, version="1.5.0", release=1_005_000)
    assert store.model("fraud").metrics.stat().st_gid == 23456
    assert stat.S_IMODE(store.model("fraud").metrics.stat().st_mode) == 0o2775


def test_a_disk_that_fails_at_the_record_leaves_the_old_version_serving(
    store: Store, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as writer:
        old = install(writer)

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr("edge_runtime.state.record.write_file", fail)
            with pytest.raises(StoreUnwritable, match="Input/output error"):
                install(writer, version="1.5.0", release=1_005_000)
    assert store.resolve("fraud")[1] == (old,)
    assert store.model("fraud").read().degraded == ""
    assert not any(disk.is_temporary(path) for path in store.root.rglob("*"))

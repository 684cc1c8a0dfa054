"""What must happen for each bad input, through the real command line, on one small device."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import bent
import bundles
import devices
import pytest
import weighty

from edge_runtime.contract.bundle.archive import BLOCK
from edge_runtime.contract.bundle.manifest import SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.errors import ManifestInvalid, SignatureInvalid
from edge_runtime.state import disk

LOAN = devices.loan()
ROWS = "income (k€),visits,plan\n30,1,basic\n"
LAST_RELEASE = (1 << 63) - 1


class Device:
    """A device that trusts the test key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.rows = directory / "rows.csv"
        self.rows.write_text(ROWS)

    def run(self, *arguments: Path | str) -> devices.Said:
        return devices.run("--store", self.store, *arguments)

    def done(self, *arguments: Path | str) -> devices.Said:
        said = self.run(*arguments)
        assert said.code == 0, said.err
        return said

    def refused(self, code: str, *arguments: Path | str) -> None:
        """Require that a command ends with this error and leaves the store as it was."""
        before = devices.snapshot(self.store, without="metrics")
        said = self.run(*arguments, "--json")
        assert said.json["error"]["code"] == code
        assert devices.snapshot(self.store, without="metrics") == before

    def release(self, minor: int, **changes: object) -> Path:
        """Write a bundle of ``loan`` 1.MINOR.0."""
        named = {
            "name": "loan",
            "version": f"1.{minor}.0",
            "release": 1_000_000 + minor * 1000,
            "description": f"number {minor}",
        }
        path = self.directory / f"{minor}.oci.tar"
        return devices.packed(path, LOAN, **{**named, **changes})

    def serving(self) -> str:
        """Return the version that answers, having answered."""
        answers = self.directory / "answers.csv"
        said = self.done("predict", "loan", "--input", self.rows, "--output", answers, "--json")
        assert "yes" in answers.read_text()
        version: str = said.json["version"]
        return version


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    devices.trusting(directory)
    device = Device(directory)
    device.done("install", device.release(4))
    device.done("mark-good", "loan")
    return directory


@pytest.fixture
def device(prepared: Path, tmp_path: Path) -> Device:
    """A device on which loan 1.4.0 is proven."""
    shutil.copytree(prepared, tmp_path / "device")
    return Device(tmp_path / "device")


# --- trust -----------------------------------------------------------------------------------


def no_directory(trust: Path) -> None:
    shutil.rmtree(trust)


def nothing_in_it(trust: Path) -> None:
    shutil.rmtree(trust)
    (trust / "keys").mkdir(parents=True)


def a_file_in_its_place(trust: Path) -> None:
    shutil.rmtree(trust)
    trust.write_bytes(b"")


def a_key_with_one_byte_changed(trust: Path) -> None:
    key = next((trust / "keys").iterdir())
    data = key.read_bytes()
    key.chmod(0o644)
    key.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])


def a_loop_of_links(trust: Path) -> None:
    shutil.rmtree(trust)
    trust.symlink_to(trust)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (no_directory, "no-trusted-key"),
        (nothing_in_it, "no-trusted-key"),
        (a_file_in_its_place, "store-unreadable"),
        (a_key_with_one_byte_changed, "store-corrupt"),
        (a_loop_of_links, "store-unreadable"),
    ],
    ids=lambda value: getattr(value, "__name__", value).replace("_", " "),
)
def test_trust_that_cannot_be_read_means_refusal_and_is_never_skipped(
    device: Device, damage: Callable[[Path], None], code: str
) -> None:
    damage(device.store / "trust")
    answers = device.directory / "none.csv"
    device.refused(code, "install", device.release(5))
    device.refused(code, "predict", "loan", "--input", device.rows, "--output", answers)
    assert not answers.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests' user cannot become another")
def test_a_trust_directory_that_may_not_be_read_is_no_empty_one(device: Device) -> None:
    for path in (device.directory, *device.directory.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
    (device.store / "trust").chmod(0)
    bundle = device.release(5)
    child = os.fork()
    if not child:  # a user without privileges
        os.setgid(65534), os.setuid(65534)
        said = device.run("verify", bundle, "--json")
        os._exit(0 if '"store-unreadable"' in said.out else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- signatures and statements ---------------------------------------------------------------


def resource_twice(claims: dict[str, object]) -> None:
    listed = claims["predicate"]["resources"]  # type: ignore[index]
    listed.append(listed[0])


def unknown_hash(claims: dict[str, object]) -> None:
    for item in claims["predicate"]["resources"]:  # type: ignore[index]
        item["algorithm"] = "blake2b"


def weak_hash(claims: dict[str, object]) -> None:
    for item in claims["predicate"]["resources"]:  # type: ignore[index]
        item.update(algorithm="md5", digest=item["digest"][:32])


def number_for_a_digest(claims: dict[str, object]) -> None:
    claims["predicate"]["resources"][0]["digest"] = 7  # type: ignore[index]


def list_for_a_name(claims: dict[str, object]) -> None:
    claims["predicate"]["resources"][0]["name"] = ["x"]  # type: ignore[index]


def text_for_all(claims: dict[str, object]) -> None:
    claims["predicate"] = "x"


@pytest.mark.parametrize(
    "edit",
    [
        resource_twice,
        unknown_hash,
        weak_hash,
        number_for_a_digest,
        list_for_a_name,
        text_for_all,
    ],
    ids=lambda edit: edit.__name__.replace("_", " "),
)
def test_a_valid_signature_over_an_odd_statement_is_refused(
    device: Device, edit: Callable[[dict[str, object]], None]
) -> None:
    parts = bent.without(bent.honest(), SIGNATURE_NAME)
    claims = bent.claims(parts)
    edit(claims)
    path = device.directory / "bent.oci.tar"
    bent.one(path, [*parts, Part(SIGNATURE_NAME, bent.sign_claims(claims))])
    device.refused(SignatureInvalid.code, "install", path)


def test_a_second_signature_beside_a_good_one_is_refused(device: Device) -> None:
    parts = bent.honest()
    twice = bent.envelope(
        bent.named(parts, SIGNATURE_NAME).data,
        lambda found: found["dsseEnvelope"].update(
            signatures=found["dsseEnvelope"]["signatures"] * 2
        ),
    )
    path = device.directory / "bent.oci.tar"
    bent.one(path, [*bent.without(parts, SIGNATURE_NAME), Part(SIGNATURE_NAME, twice)])
    device.refused(SignatureInvalid.code, "install", path)


# --- what a refusal leaves -------------------------------------------------------------------


def test_a_row_of_refused_bundles_leaves_nothing_that_a_later_one_is_trusted_by(
    device: Device,
) -> None:
    """The very bundle by a stranger is refused before and after; a sound one installs."""
    stranger = devices.packed(
        device.directory / "stranger.oci.tar",
        LOAN,
        name="loan",
        version="9.0.0",
        release=9_000_000,
        signer=bundles.STRANGER,
    )
    cut = device.directory / "cut.oci.tar"
    cut.write_bytes(device.release(5).read_bytes()[:-3000])
    for _ in range(2):
        device.refused("signer-untrusted", "install", stranger)
        device.refused("archive-corrupt", "install", cut)
    device.refused("version-conflict", "install", device.release(4, description="changed"))
    device.done("install", device.release(5))
    device.refused("signer-untrusted", "install", stranger)
    assert device.serving() == "1.5.0"


def test_other_content_under_an_installed_version_is_refused(device: Device) -> None:
    device.refused("version-conflict", "install", device.release(4, description="changed"))
    assert device.serving() == "1.4.0"


def test_a_file_that_stands_twice_in_the_archive_is_refused(device: Device) -> None:
    path = device.release(5)
    data = path.read_bytes()
    first = BLOCK + -(-int(data[124:135], 8) // BLOCK) * BLOCK
    path.write_bytes(data[:first] + data)
    device.refused("archive-corrupt", "install", path)


def test_a_bundle_of_another_product_changes_nothing_of_this_one(device: Device) -> None:
    before = devices.snapshot(device.store / "models/loan", without="metrics")
    device.done("install", device.release(9, name="other"))
    assert devices.snapshot(device.store / "models/loan", without="metrics") == before
    assert device.serving() == "1.4.0"


# --- releases and the record -----------------------------------------------------------------


def test_the_floor_rises_with_what_was_found_good_and_an_unhealthy_version_above_it_goes_back(
    device: Device,
) -> None:
    device.done("install", device.release(5))
    device.done("mark-good", "loan")
    device.refused("release-too-old", "install", device.release(3))
    device.done("install", device.release(6))
    loads = device.store / "models/loan/loads"
    digest = Path(device.done("path", "loan").out.strip()).name
    for number in range(3):  # three loads that did not end in order
        (loads / f"{digest}.{number}.load").write_text("4194303 another-boot\n")
    assert device.serving() == "1.5.0"
    device.done("rollback", "loan")
    device.refused("release-too-old", "install", device.release(3))
    device.done("install", device.release(7))
    assert device.serving() == "1.7.0"


@pytest.mark.parametrize("syncs", [1, 3, 5, 7, 9, 11, 13])
def test_a_deployment_that_ends_midway_leaves_the_old_or_the_new_and_the_next_one_works(
    device: Device, syncs: int
) -> None:
    """The process ends where it would have made its n-th directory durable."""
    bundle = device.release(5)
    child = os.fork()
    if not child:
        left = iter(range(1, syncs))
        real = disk.sync_directory
        disk.sync_directory = lambda path: real(path) if next(left, 0) else os._exit(9)
        device.run("install", bundle)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert device.serving() in ({"1.4.0", "1.5.0"} if ended else {"1.5.0"})
    device.done("install", device.release(6))
    assert device.serving() == "1.6.0"
    assert not list((device.store / "incoming").glob("*"))


@pytest.mark.parametrize("now", [0.0, 1.0, 4_102_444_800.0, 1e12])
def test_no_decision_asks_the_clock(
    device: Device, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device starts in 1970, in 2099, or later; its files are from another time."""
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9))
    for path in device.store.rglob("*"):
        os.utime(path, (4e9 - now % 4e9, 4e9 - now % 4e9))
    device.done("install", device.release(5))
    assert device.serving() == "1.5.0"
    device.done("mark-good", "loan")
    device.refused("release-too-old", "install", device.release(3))


def test_a_release_near_the_largest_number_installs_and_none_after_it_is_taken_for_newer(
    device: Device,
) -> None:
    device.done("install", device.release(8, release=LAST_RELEASE))
    device.done("mark-good", "loan")
    assert device.serving() == "1.8.0"
    device.refused("release-too-old", "install", device.release(9, release=LAST_RELEASE - 1))
    for release in (LAST_RELEASE + 1, 1 << 64, 0, -1):
        path = device.release(9, release=release)
        device.refused(ManifestInvalid.code, "install", path)


def test_a_copy_of_the_record_out_of_a_backup_changes_nothing(device: Device) -> None:
    model = device.store / "models/loan"
    old = {path.name: path.read_bytes() for path in model.glob("state-*.json")}
    device.done("install", device.release(5))
    device.done("mark-good", "loan")
    newest = max(model.glob("state-*.json"), key=lambda path: path.stat().st_mtime_ns)
    for name, data in old.items():
        if name != newest.name:
            (model / name).unlink()
            (model / name).write_bytes(data)
    assert device.serving() == "1.5.0"
    device.refused("release-too-old", "install", device.release(3))


def test_a_whole_record_out_of_a_backup_serves_only_what_was_proven(device: Device) -> None:
    """That is the power of who owns the store; it is still no way to what was never proven."""
    model = device.store / "models/loan"
    old = {path.name: path.read_bytes() for path in model.glob("state-*.json")}
    device.done("install", device.release(5))
    device.done("mark-good", "loan")
    for path in model.glob("state-*.json"):
        path.unlink()
    for name, data in old.items():
        (model / name).write_bytes(data)
    assert device.serving() == "1.4.0"
    device.refused("release-too-old", "install", device.release(3))
    device.done("install", device.release(5))
    assert device.serving() == "1.5.0"


# --- links -----------------------------------------------------------------------------------


def a_link(weights: Path, elsewhere: Path) -> None:
    weights.unlink()
    weights.symlink_to(elsewhere)


def a_hard_link(weights: Path, elsewhere: Path) -> None:
    weights.unlink()
    os.link(elsewhere, weights)


def a_second_name(weights: Path, elsewhere: Path) -> None:
    elsewhere.unlink()
    os.link(weights, elsewhere)


@pytest.mark.parametrize(
    "put", [a_link, a_hard_link, a_second_name], ids=lambda put: put.__name__.replace("_", " ")
)
def test_mapped_weights_that_are_a_link_are_not_mapped(
    tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    """Not even to the same bytes: whoever has another name for them changes them later."""
    store = devices.installed(tmp_path, weighty.packed(tmp_path / "b.oci.tar"))
    weights = next((tmp_path / "store").rglob(weighty.NAME))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(weighty.MATRIX.tobytes())
    put(weights, elsewhere)
    rows = tmp_path / "rows.npz"
    rows.write_bytes(devices.write_npz(weighty.FEED))
    said = devices.run(
        *store, "predict", "--input", rows, "--output", tmp_path / "a.npz", "--json"
    )
    assert said.json["error"]["code"] == "store-corrupt"
    assert not (tmp_path / "a.npz").exists()


def test_a_weights_file_that_is_a_link_in_a_bundle_directory_is_refused(tmp_path: Path) -> None:
    directory = bundles.unpack(weighty.packed(tmp_path / "b.oci.tar"), tmp_path / "bundle")
    blob = max((directory / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    shutil.move(blob, tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    store = devices.trusting(tmp_path)
    said = devices.run(*store, "install", directory, "--json")
    assert said.json["error"]["code"] == "archive-corrupt"

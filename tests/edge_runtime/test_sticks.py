"""Installing from a stick: the newest release that fits, and a word on every other bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import bundles
import devices
import pytest
import sticks
import trusts
from sticks import payload_damaged, release

from edge_runtime.contract.errors import BundleUnreadable, NoBundleFound, RefAmbiguous
from edge_runtime.state.store import Store
from edge_runtime.sticks import install_from
from packager.stages.pack import write_bundle


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles to be copied onto sticks."""
    directory = tmp_path_factory.mktemp("shelf")
    for version in ("1.3.0", "1.4.0", "1.5.0", "1.10.0"):
        release(directory / f"loan-{version}.oci.tar", version)
    release(directory / "other.oci.tar", "2.0.0", name="other")
    release(directory / "stranger.oci.tar", "9.0.0", signer=bundles.STRANGER)
    bundles.bundle(directory / "elsewhere.oci.tar", [devices.ELSEWHERE], name="loan")
    return directory


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


def put(shelf: Path, stick: Path, *names: str) -> None:
    for name in names:
        shutil.copy(shelf / name, stick / name)


def words(said: devices.Said) -> dict[str, str]:
    return {item["path"]: item["word"] for item in said.json["skipped"]}


def installed(store: Store, *arguments: Path | str) -> devices.Said:
    said = devices.run("--store", store.root, "install", *arguments, "--json")
    assert said.code == 0, said.out
    return said


# --- which one -----------------------------------------------------------------------------


def test_the_newest_release_is_taken_by_its_number_and_not_by_its_name(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar", "loan-1.5.0.oci.tar")
    shutil.copy(shelf / "loan-1.10.0.oci.tar", stick / "loan-1.1.0.oci.tar")
    said = installed(empty, stick)
    assert (said.json["version"], said.json["changed"]) == ("1.10.0", True)
    assert said.json["source"] == str(stick / "loan-1.1.0.oci.tar")
    assert said.json["skipped"] == []
    again = installed(empty, stick)
    assert again.json["changed"] is False
    assert words(again) == {"loan-1.4.0.oci.tar": "older", "loan-1.5.0.oci.tar": "older"}


def test_every_other_bundle_is_skipped_with_a_word(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar", "stranger.oci.tar", "elsewhere.oci.tar")
    whole = (shelf / "loan-1.10.0.oci.tar").read_bytes()
    (stick / "cut.oci.tar").write_bytes(whole[: len(whole) // 2])
    (stick / "hole.oci.tar").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    (stick / "._loan-1.4.0.oci.tar").write_bytes(bytes(4096))
    (stick / "holiday.tar").write_bytes(b"x" * 512)
    (stick / "notes.txt").write_bytes(b"x")
    unsigned = [bundles.image(devices.TARGET, bundles.parts(bundles.manifest(devices.TARGET)))]
    write_bundle(stick / "unsigned.oci.tar", unsigned)
    release(stick / "tomorrow.oci.tar", "9.1.0", min_runtime="99.0.0")
    said = installed(empty, stick)
    assert said.json["version"] == "1.4.0"
    assert words(said) == {
        "._loan-1.4.0.oci.tar": "appledouble",
        "cut.oci.tar": "half-copied",
        "elsewhere.oci.tar": "elsewhere",
        "hole.oci.tar": "half-copied",
        "holiday.tar": "foreign",
        "stranger.oci.tar": "untrusted",
        "tomorrow.oci.tar": "newer",
        "unsigned.oci.tar": "unsigned",
    }
    assert said.json["others"] == 1
    plain = devices.run("--store", empty.root, "install", stick).out
    assert "  skipped half-copied  cut.oci.tar: " in plain
    assert "  files that are no bundles: 1\n" in plain


def test_a_layout_directory_on_a_stick_is_a_bundle(
    shelf: Path, stick: Path, empty: Store
) -> None:
    bundles.unpack(shelf / "loan-1.5.0.oci.tar", stick / "models/loan")
    put(shelf, stick, "loan-1.4.0.oci.tar")
    assert installed(empty, stick).json["version"] == "1.5.0"
    half = bundles.unpack(shelf / "loan-1.10.0.oci.tar", stick / "models/half")
    (half / "index.json").unlink()
    assert words(installed(empty, stick))["models/half"] == "half-copied"


def test_a_directory_that_is_itself_a_bundle_is_no_stick(shelf: Path, empty: Store) -> None:
    path = bundles.unpack(shelf / "loan-1.5.0.oci.tar", empty.root.parent / "layout")
    assert installed(empty, path).json["source"] == str(path)


def test_models_are_told_apart_by_name(shelf: Path, stick: Path, empty: Store) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar", "other.oci.tar")
    installed(empty, shelf / "loan-1.3.0.oci.tar")
    with pytest.raises(RefAmbiguous) as caught:
        install_from(stick, empty)
    assert "loan 1.4.0 (installed here), other 2.0.0 (not installed here)" in str(caught.value)
    assert caught.value.hint == "Name one of them: --name loan"
    assert installed(empty, stick, "--name", "other").json["name"] == "other"
    assert installed(empty, stick, "--name", "loan").json["version"] == "1.4.0"


def test_a_name_that_is_not_there_is_said_with_those_that_are(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar", "other.oci.tar")
    with pytest.raises(NoBundleFound, match=r"found loan 1\.4\.0, other 2\.0\.0$"):
        install_from(stick, empty, name="pitch")


def test_the_way_back_is_never_taken(shelf: Path, stick: Path, empty: Store) -> None:
    installed(empty, shelf / "loan-1.5.0.oci.tar")
    put(shelf, stick, "loan-1.3.0.oci.tar", "loan-1.4.0.oci.tar")
    before = devices.snapshot(empty.root)
    with pytest.raises(NoBundleFound, match=r"loan-1\.3\.0\.oci\.tar \(older\), ") as caught:
        install_from(stick, empty)
    assert devices.snapshot(empty.root) == before
    assert "release 1003000, here serves 1005000" in json.dumps(caught.value.values)


def test_two_different_bundles_of_one_release_are_refused(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    release(stick / "loan.oci.tar", "1.4.0", description="Changed.")
    said = devices.run("--store", empty.root, "install", stick)
    assert said.code == 4
    assert said.err.startswith("error[version-conflict]: ")
    assert str(stick / "loan.oci.tar") in said.err


def test_of_two_targets_of_one_release_in_two_files_the_one_that_fits_best_is_taken(
    stick: Path, empty: Store
) -> None:
    target = devices.manifest(sticks.LOAN, {"float32": b""}).target
    for name, priority in (("a-low", 1), ("b-high", 90)):
        changed = replace(target, name=name, priority=priority)
        release(stick / f"{name}.oci.tar", "1.4.0", target=changed)
    assert installed(empty, stick).json["target"] == "b-high"


# --- damage that only reading finds --------------------------------------------------------


def test_a_damaged_newest_release_gives_way_to_the_next_that_is_newer_than_what_serves(
    shelf: Path, stick: Path, empty: Store
) -> None:
    installed(empty, shelf / "loan-1.3.0.oci.tar")
    put(shelf, stick, "loan-1.3.0.oci.tar", "loan-1.4.0.oci.tar", "loan-1.5.0.oci.tar")
    payload_damaged(stick / "loan-1.5.0.oci.tar")
    said = installed(empty, stick)
    assert said.json["version"] == "1.4.0"
    assert words(said)["loan-1.5.0.oci.tar"] == "damaged"


def test_a_damaged_newest_release_is_an_error_where_nothing_else_is_newer(
    shelf: Path, stick: Path, empty: Store
) -> None:
    installed(empty, shelf / "loan-1.4.0.oci.tar")
    put(shelf, stick, "loan-1.4.0.oci.tar", "loan-1.5.0.oci.tar")
    payload_damaged(stick / "loan-1.5.0.oci.tar")
    before = devices.snapshot(empty.root)
    said = devices.run("--store", empty.root, "install", stick)
    assert said.code == 4
    assert said.err.startswith("error[digest-mismatch]: ")
    assert devices.snapshot(empty.root) == before


def test_what_cannot_be_told_apart_from_a_newer_release_is_warned_of(
    shelf: Path, stick: Path, empty: Store
) -> None:
    installed(empty, shelf / "loan-1.4.0.oci.tar")
    put(shelf, stick, "loan-1.4.0.oci.tar")
    whole = (shelf / "loan-1.5.0.oci.tar").read_bytes()
    (stick / "loan-1.5.0.oci.tar").write_bytes(whole[:5000])
    said = devices.run("--store", empty.root, "install", stick)
    assert said.code == 0
    assert said.out.startswith("already active: loan 1.4.0\n")
    assert said.err == (
        "warning: nothing newer could be read; copy it again: loan-1.5.0.oci.tar\n"
    )


def test_a_second_copy_of_the_same_bundle_helps(shelf: Path, stick: Path, empty: Store) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    shutil.copy(stick / "loan-1.4.0.oci.tar", stick / "loan-1.4.0 (1).oci.tar")
    payload_damaged(stick / "loan-1.4.0 (1).oci.tar")
    said = installed(empty, stick)
    assert said.json["source"] == str(stick / "loan-1.4.0.oci.tar")
    assert words(said) == {"loan-1.4.0 (1).oci.tar": "damaged"}


def test_a_bad_stick_and_then_a_good_one_works(
    shelf: Path, stick: Path, empty: Store, tmp_path: Path
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    payload_damaged(stick / "loan-1.4.0.oci.tar")
    (stick / "loan-1.5.0.oci.tar").write_bytes(b"")
    before = devices.snapshot(empty.root)
    for _ in range(2):
        assert devices.run("--store", empty.root, "install", stick).code == 4
    assert devices.snapshot(empty.root, without="nothing").keys() == before.keys()
    good = tmp_path / "good"
    good.mkdir()
    put(shelf, good, "loan-1.4.0.oci.tar")
    assert installed(empty, good).json["changed"] is True


def test_a_release_that_this_chip_refuses_is_not_passed_over_in_silence(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    wrong = devices.reversed_labels(sticks.LOAN)
    release(stick / "loan-1.5.0.oci.tar", "1.5.0", answers={"float32": wrong})
    said = devices.run("--store", empty.root, "install", stick)
    assert said.code == 5
    assert said.err.startswith("error[golden-mismatch]: ")
    assert empty.models() == ()


# --- a trust.json on the stick -------------------------------------------------------------


@pytest.fixture
def rooted(empty: Store) -> Store:
    """A store that believes a root key too."""
    path = empty.root.parent / "root.pub"
    path.write_bytes(trusts.ROOT.public_key.pem)
    assert devices.run("--store", empty.root, "trust", "add", "--root", path).code == 0
    return empty


def test_a_key_that_arrives_on_the_stick_counts_for_what_lies_beside_it(
    shelf: Path, stick: Path, rooted: Store
) -> None:
    put(shelf, stick, "stranger.oci.tar", "loan-1.4.0.oci.tar")
    assert installed(rooted, stick).json["version"] == "1.4.0"
    grants = (trusts.grant(), trusts.grant(trusts.STRANGER, "lo*"))
    (stick / "sub").mkdir()
    (stick / "sub/trust.json").write_bytes(trusts.sound(1, *grants))
    said = installed(rooted, stick)
    assert said.json["version"] == "9.0.0"
    assert said.json["notes"] == ["trust.json serial 1 is in force from now on"]


def test_a_withdrawal_that_arrives_on_the_stick_counts_before_anything_is_chosen(
    shelf: Path, stick: Path, rooted: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar", "loan-1.5.0.oci.tar")
    (stick / "trust.json").write_bytes(trusts.sound(1, releases={("loan", 1_005_000)}))
    said = installed(rooted, stick)
    assert said.json["version"] == "1.4.0"
    assert words(said) == {"loan-1.5.0.oci.tar": "revoked"}


def test_a_bundle_with_a_forged_list_is_skipped_and_another_is_taken(
    shelf: Path, stick: Path, rooted: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    trusts.carrying(stick / "z.oci.tar", b"{}", shelf / "loan-1.5.0.oci.tar")
    said = installed(rooted, stick)
    assert said.json["version"] == "1.4.0"
    assert words(said) == {"z.oci.tar": "forged"}


# --- nothing to install --------------------------------------------------------------------


def test_an_empty_stick_is_said_to_be_empty(stick: Path, empty: Store) -> None:
    with pytest.raises(NoBundleFound, match=r"found nothing$"):
        install_from(stick, empty)
    (stick / "photo.jpg").write_bytes(b"x")
    with pytest.raises(NoBundleFound, match=r"found 1 files that are no bundles$"):
        install_from(stick, empty)


def test_where_one_bundle_lies_its_own_error_is_told(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "stranger.oci.tar")
    said = devices.run("--store", empty.root, "install", stick)
    assert said.code == 4
    assert said.err.startswith("error[signer-untrusted]: ")


def test_a_stick_that_is_not_there_is_a_typed_error(stick: Path, empty: Store) -> None:
    with pytest.raises(BundleUnreadable):
        install_from(stick / "usb", empty)


def test_names_from_a_stick_cannot_draw_on_the_terminal(
    shelf: Path, stick: Path, empty: Store
) -> None:
    put(shelf, stick, "loan-1.4.0.oci.tar")
    (stick / "\x1b[31mred\n.tar").write_bytes(b"x")
    said = devices.run("--store", empty.root, "install", stick)
    assert "\x1b" not in said.out
    assert "?[31mred?.tar" in said.out


def test_a_name_is_for_a_directory_only(shelf: Path, empty: Store) -> None:
    path = shelf / "loan-1.4.0.oci.tar"
    said = devices.run("--store", empty.root, "install", path, "--name", "loan")
    assert said.code == 2

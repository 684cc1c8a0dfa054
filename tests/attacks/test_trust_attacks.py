"""TUF's list of attacks on updates, one by one, and what a withdrawal must outlive.

Source: The Update Framework specification 1.0, section 1.5.2 (goals against specific attacks).
The attacker has the stick: what lies on it, he may read, change, keep, mix and replace.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import bent
import bundles
import devices
import pytest
import trusts
from certificates import certified, leaf, root

from edge_runtime.contract.bundle.trust_file import (
    MAX_SERIAL,
    MAX_TRUST_BYTES,
    ROTATION_TYPE,
    TRUST_NAME,
    read_trust_file,
)
from edge_runtime.contract.bundle.trust_render import render_document, render_trust_file
from edge_runtime.state.store import Store

LOAN = devices.loan()
SIGNER, STRANGER = trusts.SIGNER, trusts.STRANGER
Flag = tuple[str, str]


@pytest.fixture(scope="module")
def sticks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by what they are."""
    directory = tmp_path_factory.mktemp("sticks")

    def made(kind: str, **changes: object) -> Path:
        path = directory / kind / "loan.oci.tar"
        path.parent.mkdir()
        return devices.packed(path, LOAN, **{"name": "loan", **changes})

    return {
        "old": made("old", version="1.4.0", release=1_004_000),
        "new": made("new", version="1.5.0", release=1_005_000),
        "stranger": made("stranger", version="1.6.0", signer=bundles.STRANGER),
        "vision": made("vision", name="vision-a", version="1.0.0", release=1_000_000),
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A device that pinned the root key, and has list 5 of it in force."""
    found = Store(tmp_path / "store", "of this test")
    with found.writing() as writer:
        writer.pin_root(trusts.ROOT.public_key.pem)
        writer.update_trust(trusts.sound(5))
    return found


def run(store: Store, *arguments: Path | str, error: str | None = None) -> devices.Said:
    """Run a command; it must end well, or with this error and nothing changed."""
    before = devices.snapshot(store.root)
    said = devices.run("--store", store.root, *arguments)
    if error is None:
        assert said.code == 0, said.err
    else:
        assert f"error[{error}]" in said.err, said.err or said.out
        assert devices.snapshot(store.root) == before
    return said


def stick(path: Path, *bundled: Path, trust: bytes | None = None) -> Path:
    """Fill a stick, from which the first bundle is installed."""
    path.mkdir(exist_ok=True)
    for one in bundled:
        shutil.copy(one, path / one.name)
    if trust is not None:
        (path / TRUST_NAME).write_bytes(trust)
    return path / bundled[0].name if bundled else path


def serial(store: Store) -> int:
    return store.trust.revocations().serial


def predict(store: Store, tmp_path: Path, error: str | None = None) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("income (k€),visits,plan\n1,1,gold\n")
    output = tmp_path / "answers.csv"
    said = devices.run(
        "--store", store.root, "predict", "loan", "--input", rows, "--output", output
    )
    assert said.code == (4 if error else 0), said.err
    assert not error or f"error[{error}]" in said.err


# --- the list of TUF -----------------------------------------------------------------------


def test_arbitrary_installation(store: Store, sticks: dict[str, Path], tmp_path: Path) -> None:
    """The attacker's own bundle, with a list of his own that believes it."""
    forged = trusts.signed(trusts.document(9, trusts.grant(STRANGER)), bundles.STRANGER)
    place = stick(tmp_path / "stick", sticks["stranger"], trust=forged)
    run(store, "install", place, error="signer-untrusted")
    run(store, "trust", "update", tmp_path / "stick" / TRUST_NAME, error="trust-invalid")


def test_arbitrary_installation_under_a_borrowed_root(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """A list that names the root believed here, over other bytes."""
    envelope = trusts.enveloped(
        render_document(trusts.document(9, trusts.grant(STRANGER))), bundles.STRANGER
    )
    name = trusts.ROOT.public_key.fingerprint
    claimed = type(envelope)(envelope.payload, name, envelope.signature)
    forged = render_trust_file((), claimed)
    place = stick(tmp_path / "stick", sticks["stranger"], trust=forged)
    run(store, "install", place, error="trust-invalid")


@pytest.mark.parametrize("kind", ["sparse", "pipe", "nested", "endless list"])
def test_endless_data(store: Store, sticks: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """A list without end: read to a bound, and never waited for."""
    place = stick(tmp_path / "stick", sticks["new"])
    path = tmp_path / "stick" / TRUST_NAME
    if kind == "sparse":
        with path.open("wb") as stream:
            stream.truncate(1 << 40)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "nested":
        path.write_bytes(b"[" * MAX_TRUST_BYTES)
    else:
        path.write_bytes(trusts.sound(9) + b" " * MAX_TRUST_BYTES)
    run(store, "install", place, error="trust-invalid")


def test_endless_data_inside_a_bundle(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """The same where a bundle carries it."""
    large = trusts.sound(9) + b" " * MAX_TRUST_BYTES
    place = trusts.carrying(tmp_path / "b.oci.tar", large, sticks["new"])
    run(store, "install", place, error="trust-invalid")


def test_extraneous_dependencies(store: Store, tmp_path: Path) -> None:
    """A file beside the signed ones: there is nothing that a bundle may ask to be added."""
    extra = bent.Part("helper.py", b"import os")
    place = bent.one(tmp_path / "b.oci.tar", [*bent.honest(), extra])
    run(store, "install", place, error="files-mismatch")


def test_fast_forward(store: Store, sticks: dict[str, Path], tmp_path: Path) -> None:
    """A stolen root key spends all serials; the owner hands over to a new root and is heard."""
    run(store, "trust", "update", written(tmp_path, trusts.sound(MAX_SERIAL)))
    run(store, "trust", "update", written(tmp_path, trusts.sound(6)), error="trust-too-old")
    handed = [trusts.handover(trusts.ROOT, trusts.NEXT)]
    recovered = trusts.signed(trusts.document(1, trusts.grant()), trusts.NEXT, handed)
    run(store, "trust", "update", written(tmp_path, recovered))
    assert serial(store) == 1
    run(
        store,
        "trust",
        "update",
        written(tmp_path, trusts.sound(MAX_SERIAL)),
        error="trust-invalid",
    )
    run(store, "install", sticks["new"])


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "carried.json"
    path.write_bytes(data)
    return path


def test_indefinite_freeze(store: Store, sticks: dict[str, Path], tmp_path: Path) -> None:
    """Old sticks for ever: nothing gets lost by them, and every command tells where it stands.

    That a newer list exists somewhere, a device without a clock and a network cannot know.
    """
    for _ in range(3):
        place = stick(tmp_path / "stick", sticks["old"], trust=trusts.sound(4))
        run(store, "install", place)
        assert serial(store) == 5
    assert run(store, "trust", "list", "--json").json["serial"] == 5


def test_malicious_mirrors_that_leave_the_list_out(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """What was withdrawn stays so on a device that ever learnt of it."""
    run(store, "trust", "update", written(tmp_path, trusts.sound(6, keys=[SIGNER.fingerprint])))
    run(store, "install", sticks["new"], error="signer-revoked")


def test_malicious_mirrors_that_bring_an_old_bundle_with_an_old_list(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """The list that the bundle carries is older than the one in force, and left aside."""
    run(
        store,
        "trust",
        "update",
        written(tmp_path, trusts.sound(6, releases=[("loan", 1_004_000)])),
    )
    place = trusts.carrying(tmp_path / "b.oci.tar", trusts.sound(4), sticks["old"])
    run(store, "install", place, error="release-revoked")


def test_mix_and_match(store: Store, tmp_path: Path) -> None:
    """Parts of two lists, each validly signed."""
    old, new = (
        read_trust_file(trusts.sound(n, releases=[("loan", n)])).envelope for n in (6, 7)
    )
    mixed = render_trust_file((), type(old)(new.payload, old.signer, old.signature))
    run(store, "trust", "update", written(tmp_path, mixed), error="trust-invalid")


def test_mix_and_match_of_targets(store: Store, tmp_path: Path) -> None:
    """Targets of two releases under one roof, each validly signed."""
    images = [
        *bundles.images([devices.ELSEWHERE]),
        *bundles.images([devices.TARGET], version="1.5.0", release=1_005_000),
    ]
    run(store, "install", bent.write(tmp_path / "b.oci.tar", images), error="mixed-bundle")


def test_rollback_of_the_list(store: Store, sticks: dict[str, Path], tmp_path: Path) -> None:
    """An older list, by hand, on the stick and inside the bundle."""
    old = trusts.sound(4, trusts.grant(STRANGER))
    run(store, "trust", "update", written(tmp_path, old), error="trust-too-old")
    beside = stick(tmp_path / "stick", sticks["stranger"], trust=old)
    run(store, "install", beside, error="signer-untrusted")
    inside = trusts.carrying(tmp_path / "b.oci.tar", old, sticks["stranger"])
    run(store, "install", inside, error="signer-untrusted")
    place = stick(tmp_path / "stick", sticks["new"], trust=old)
    said = run(store, "install", place, "--json")
    assert any("left aside" in note and "above 5" in note for note in said.json["notes"])
    assert serial(store) == 5


def test_rollback_to_a_root_that_was_left_behind(store: Store, tmp_path: Path) -> None:
    """The root before is stolen: it reaches no device that knows the next one."""
    handed = [trusts.handover(trusts.ROOT, trusts.NEXT)]
    moved = trusts.signed(trusts.document(1, trusts.grant()), trusts.NEXT, handed)
    run(store, "trust", "update", written(tmp_path, moved))
    evil = trusts.handover(trusts.ROOT, trusts.THIRD)
    for data in (
        trusts.sound(9),
        trusts.signed(trusts.document(9, trusts.grant(STRANGER)), trusts.THIRD, [evil]),
        trusts.signed(
            trusts.document(9, trusts.grant(STRANGER)), trusts.THIRD, [*handed, evil]
        ),
        trusts.signed(
            trusts.document(9, trusts.grant(STRANGER)), trusts.THIRD, [evil, *handed]
        ),
    ):
        run(store, "trust", "update", written(tmp_path, data), error="trust-invalid")


def test_slow_retrieval(store: Store, sticks: dict[str, Path], tmp_path: Path) -> None:
    """A file that trickles is no regular file: it is refused without waiting for its end."""
    place = stick(tmp_path / "stick", sticks["new"])
    path = tmp_path / "stick" / TRUST_NAME
    os.mkfifo(path)
    ended = threading.Event()

    def trickle() -> None:
        while not ended.is_set():
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(0.01)
                continue
            os.close(descriptor)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        run(store, "install", place, error="trust-invalid")
    finally:
        ended.set()
        thread.join()


def test_key_compromise_of_a_release_key(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """It signs no list, and once it is withdrawn nothing of it is installed or loaded."""
    run(store, "install", sticks["old"])
    predict(store, tmp_path)
    believes_itself = trusts.signed(trusts.document(9, trusts.grant(STRANGER)), bundles.SIGNER)
    run(store, "trust", "update", written(tmp_path, believes_itself), error="trust-invalid")
    withdrawn = trusts.sound(6, trusts.grant(STRANGER), keys=[SIGNER.fingerprint])
    place = stick(tmp_path / "stick", sticks["new"], trust=withdrawn)
    assert "signer-revoked" in devices.run("--store", store.root, "install", place).err
    assert serial(store) == 6
    predict(store, tmp_path, error="signer-revoked")
    run(store, "install", stick(tmp_path / "good", sticks["stranger"]))
    predict(store, tmp_path)


def test_key_compromise_of_the_root_is_ended_by_pinning_another(
    store: Store, tmp_path: Path
) -> None:
    """There is one root key and no threshold: what is left is a person at the device."""
    run(store, "trust", "remove", trusts.ROOT.public_key.fingerprint)
    path = tmp_path / "root.pub"
    path.write_bytes(trusts.NEXT.public_key.pem)
    run(store, "trust", "add", "--root", path)
    run(store, "trust", "update", written(tmp_path, trusts.sound(9)), error="trust-invalid")


def test_wrong_software_installation(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    """A key for some models signs another, however sound its bundle."""
    narrowed = trusts.sound(6, trusts.grant(SIGNER, "vision-*"))
    run(store, "trust", "update", written(tmp_path, narrowed))
    run(store, "install", sticks["new"], error="signer-untrusted")
    run(store, "install", sticks["vision"])


# --- what a withdrawal must outlive --------------------------------------------------------


def test_a_revocation_that_arrives_on_the_stick_counts_before_the_bundle_beside_it(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    withdrawn = trusts.sound(6, releases=[("loan", 1_005_000)])
    place = stick(tmp_path / "stick", sticks["new"], trust=withdrawn)
    said = devices.run("--store", store.root, "install", place)
    assert "error[release-revoked]" in said.err
    assert not store.models()
    assert serial(store) == 6


def test_a_revocation_inside_a_bundle_counts_for_what_is_installed(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    run(store, "install", sticks["old"])
    withdrawn = trusts.sound(6, releases=[("loan", 1_004_000)])
    place = trusts.carrying(tmp_path / "b.oci.tar", withdrawn, sticks["vision"])
    run(store, "install", place)
    predict(store, tmp_path, error="release-revoked")


def test_a_withdrawn_release_is_not_loaded_by_keys_that_are_named_instead(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    import edge_runtime
    from edge_runtime.contract.errors import ReleaseRevoked, SignerRevoked

    run(store, "install", sticks["old"])
    key = tmp_path / "release.pub"
    key.write_bytes(SIGNER.pem)
    for serial, revoked, error in (
        (6, {"releases": [("loan", 1_004_000)]}, ReleaseRevoked),
        (7, {"keys": [SIGNER.fingerprint]}, SignerRevoked),
    ):
        run(store, "trust", "update", written(tmp_path, trusts.sound(serial, **revoked)))
        with pytest.raises(error):
            edge_runtime.load("loan", store=store, trust=key)


def test_a_withdrawn_certificate_is_withdrawn_with_all_that_it_issued(
    store: Store, tmp_path: Path
) -> None:
    authority = root()
    signer = leaf(authority)
    listed = trusts.sound(6, trusts.grant(authority.authority("tiny")))
    run(store, "trust", "update", written(tmp_path, listed))
    place = bent.one(tmp_path / "b.oci.tar", certified(signer))
    run(store, "verify", place)
    for number, name in enumerate((signer.fingerprint, authority.fingerprint), 7):
        grant = trusts.grant(authority.authority("tiny"))
        run(
            store,
            "trust",
            "update",
            written(tmp_path, trusts.sound(number, grant, keys=[name])),
        )
        run(store, "verify", place, error="signer-revoked")


def test_a_bad_stick_and_then_a_good_one(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    bad = stick(tmp_path / "bad", sticks["new"], trust=trusts.sound(6)[:-20])
    run(store, "install", bad, error="trust-invalid")
    run(store, "install", stick(tmp_path / "good", sticks["new"], trust=trusts.sound(6)))
    assert serial(store) == 6


def test_a_device_that_pinned_no_root_looks_at_no_list(
    sticks: dict[str, Path], tmp_path: Path
) -> None:
    flag = devices.trusting(tmp_path)
    for number, data in enumerate((b"{]", trusts.sound(9, keys=[SIGNER.fingerprint]))):
        place = stick(tmp_path / f"stick{number}", sticks["new"], trust=data)
        said = devices.run(*flag, "install", place, "--json")
        assert said.code == 0, said.err
        assert "no root key is pinned" in said.json["notes"][0]
    carried = trusts.carrying(tmp_path / "b.oci.tar", trusts.sound(9), sticks["new"])
    assert devices.run(*flag, "install", carried).code == 0


def test_a_list_of_another_fleet_on_the_same_stick_does_no_harm(
    store: Store, sticks: dict[str, Path], tmp_path: Path
) -> None:
    foreign = trusts.signed(trusts.document(99, trusts.grant(STRANGER)), trusts.NEXT)
    place = stick(tmp_path / "stick", sticks["new"], trust=foreign)
    said = run(store, "install", place, "--json")
    assert "left aside: root key" in said.json["notes"][0]
    assert serial(store) == 5


def test_a_change_of_root_is_no_list_and_a_list_no_signature_of_a_bundle(
    store: Store, tmp_path: Path
) -> None:
    payload = render_document(trusts.document(9, trusts.grant(STRANGER)))
    as_root = trusts.enveloped(payload, trusts.ROOT, ROTATION_TYPE)
    run(
        store,
        "trust",
        "update",
        written(tmp_path, render_trust_file((), as_root)),
        error="trust-invalid",
    )
    parts = bent.honest()
    by_root = bent.resigned(parts, trusts.ROOT)
    run(store, "install", bent.one(tmp_path / "b.oci.tar", by_root), error="signer-untrusted")


@pytest.mark.parametrize("offset", range(0, len(trusts.sound(6)), 97))
def test_a_list_cut_short_anywhere_is_refused(
    store: Store, tmp_path: Path, offset: int
) -> None:
    path = written(tmp_path, trusts.sound(6)[:offset])
    run(store, "trust", "update", path, error="trust-invalid")


def test_no_clock_is_asked_by_anything_that_decides_on_trust() -> None:
    """The sources say so: none of them imports a clock, and none reads a validity date."""
    from edge_runtime import keys
    from edge_runtime.contract.bundle import keyring, signature, trust_file, x509
    from edge_runtime.state import key_files, trust, trust_list

    for module in (keys, keyring, signature, trust_file, x509, key_files, trust, trust_list):
        assert not {"time", "datetime"} & set(vars(module))
        source = Path(sys.modules[module.__name__].__file__ or "").read_text("utf-8")
        code = [line for line in source.splitlines() if "``not" not in line]
        assert not any("not_valid" in line or "x509.verification" in line for line in code)


def test_serials_of_every_order_end_at_the_highest(tmp_path: Path) -> None:
    for number, order in enumerate(itertools.permutations((1, 2, 3))):
        found = Store(tmp_path / f"store{number}", "of this test")
        with found.writing() as writer:
            writer.pin_root(trusts.ROOT.public_key.pem)
        for serial_number in order:
            devices.run(
                "--store",
                found.root,
                "trust",
                "update",
                written(tmp_path, trusts.sound(serial_number)),
            )
        assert serial(found) == 3

"""The pinned root and its list: newer replaces older, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bundles
import pytest
import trusts
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract import errors
from edge_runtime.contract.bundle.trust_file import MAX_SERIAL, TRUST_NAME
from edge_runtime.contract.errors import (
    KeyInvalid,
    NoTrustedKey,
    SignerRevoked,
    StoreCorrupt,
    StoreUnreadable,
    TrustInvalid,
    TrustTooOld,
)
from edge_runtime.state.trust import TrustStore
from edge_runtime.state.trust_list import ROOT_NAME
from packager.stages.sign import KeySigner

SIGNER, STRANGER = trusts.SIGNER, trusts.STRANGER


@pytest.fixture
def trust(tmp_path: Path) -> TrustStore:
    """A store's trust with a root key pinned and nothing else."""
    found = TrustStore(tmp_path / "trust")
    assert found.list.pin(trusts.ROOT.public_key.pem)[1]
    return found


def put(trust: TrustStore, data: bytes) -> bool:
    return trust.list.update(data)[1]


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


# --- what counts ---------------------------------------------------------------------------


def test_a_root_key_alone_trusts_nobody(trust: TrustStore) -> None:
    assert trust.fingerprints() == ()
    assert trust.list.root() == trusts.ROOT.public_key.fingerprint
    with pytest.raises(NoTrustedKey):
        trust.keys()


def test_the_keys_of_a_list_count_for_their_names(trust: TrustStore) -> None:
    assert put(trust, trusts.sound(1, trusts.grant(SIGNER, "vision-*")))
    (key,) = trust.keys()
    assert (key.fingerprint, key.patterns) == (SIGNER.fingerprint, ("vision-*",))
    assert trust.fingerprints() == (SIGNER.fingerprint,)


def test_a_key_by_hand_and_on_the_list_counts_for_the_names_of_both(trust: TrustStore) -> None:
    trust.add(SIGNER.pem, ("fraud",))
    put(trust, trusts.sound(1, trusts.grant(SIGNER, "vision-*")))
    (key,) = trust.keys()
    assert key.patterns == ("fraud", "vision-*")
    (listed,) = trust.counted()
    assert (listed.patterns, listed.origin) == (key.patterns, "by hand, trust.json")


def test_a_withdrawn_key_counts_no_more_wherever_it_came_from(trust: TrustStore) -> None:
    trust.add(SIGNER.pem)
    trust.add(STRANGER.pem)
    put(trust, trusts.sound(1, trusts.grant(SIGNER), keys=[SIGNER.fingerprint]))
    assert trust.fingerprints() == (STRANGER.fingerprint,)
    assert trust.keys().revocations.keys == {SIGNER.fingerprint}
    with pytest.raises(SignerRevoked, match="serial 1"):
        trust.add(SIGNER.pem, ("fraud",))


def test_every_change_of_a_list_changes_the_digest(trust: TrustStore) -> None:
    digests = [trust.digest()]
    for serial in (1, 2):
        put(trust, trusts.sound(serial))
        digests.append(trust.digest())
    trust.add(STRANGER.pem, ("a",))
    digests.append(trust.digest())
    trust.add(STRANGER.pem, ("b",))
    digests.append(trust.digest())
    assert len(set(digests)) == 5


# --- newer and older -----------------------------------------------------------------------


def test_a_higher_serial_replaces_a_lower_one(trust: TrustStore) -> None:
    assert put(trust, trusts.sound(3))
    assert put(trust, trusts.sound(9, trusts.grant(STRANGER)))
    assert trust.fingerprints() == (STRANGER.fingerprint,)


def test_the_same_list_again_changes_nothing(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    before = (trust.directory / TRUST_NAME).stat()
    assert not put(trust, trusts.sound(3))
    assert (trust.directory / TRUST_NAME).stat().st_ino == before.st_ino


@pytest.mark.parametrize("serial", [1, 2])
def test_a_lower_serial_is_refused(trust: TrustStore, serial: int) -> None:
    put(trust, trusts.sound(3))
    with pytest.raises(TrustTooOld, match=f"above 3, .* found it with {serial}"):
        put(trust, trusts.sound(serial))


def test_other_content_under_the_same_serial_is_refused(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    with pytest.raises(TrustTooOld, match="other content under that serial with 3"):
        put(trust, trusts.sound(3, trusts.grant(STRANGER)))


def test_the_highest_serial_is_still_one(trust: TrustStore) -> None:
    assert put(trust, trusts.sound(MAX_SERIAL))
    with pytest.raises(TrustTooOld):
        put(trust, trusts.sound(MAX_SERIAL - 1))


# --- roots ---------------------------------------------------------------------------------

TO_NEXT = trusts.handover(trusts.ROOT, trusts.NEXT)
TO_THIRD = trusts.handover(trusts.NEXT, trusts.THIRD)


def by(signer: KeySigner, serial: int, *rotations: object) -> bytes:
    return trusts.signed(trusts.document(serial, trusts.grant()), signer, rotations)  # type: ignore[arg-type]


def test_a_later_root_counts_whatever_its_serial(trust: TrustStore) -> None:
    put(trust, trusts.sound(MAX_SERIAL))
    assert put(trust, by(trusts.NEXT, 1, TO_NEXT))
    assert trust.list.root() == trusts.NEXT.public_key.fingerprint
    assert trust.list.pinned() == trusts.ROOT.public_key.fingerprint
    assert trust.fingerprints() == (SIGNER.fingerprint,)
    assert trust.keys()


def test_the_root_before_signs_nothing_any_more(trust: TrustStore) -> None:
    put(trust, by(trusts.NEXT, 1, TO_NEXT))
    for data in (trusts.sound(9), by(trusts.ROOT, 9, TO_NEXT)):
        with pytest.raises(TrustInvalid, match="must be signed by the root key"):
            put(trust, data)


def test_a_root_that_was_left_behind_hands_over_to_nobody_else(trust: TrustStore) -> None:
    put(trust, by(trusts.NEXT, 1, TO_NEXT))
    evil = trusts.handover(trusts.ROOT, trusts.THIRD)
    for rotations in ([evil], [evil, TO_NEXT], [TO_NEXT, evil]):
        with pytest.raises(TrustInvalid):
            put(trust, by(trusts.THIRD, 9, *rotations))


def test_several_changes_of_root_at_once_are_followed(trust: TrustStore) -> None:
    assert put(trust, by(trusts.THIRD, 1, TO_NEXT, TO_THIRD))
    assert trust.list.root() == trusts.THIRD.public_key.fingerprint
    assert not put(trust, by(trusts.THIRD, 1, TO_NEXT, TO_THIRD))


def test_a_list_that_leaves_out_the_way_from_the_pinned_root_is_refused(
    trust: TrustStore,
) -> None:
    put(trust, by(trusts.NEXT, 1, TO_NEXT))
    with pytest.raises(TrustInvalid):
        put(trust, by(trusts.THIRD, 2, TO_THIRD))
    assert trust.keys()


def test_one_root_is_pinned_at_a_time(trust: TrustStore) -> None:
    assert not trust.list.pin(trusts.ROOT.public_key.pem)[1]
    with pytest.raises(KeyInvalid, match="one root key is pinned"):
        trust.list.pin(trusts.NEXT.public_key.pem)
    put(trust, by(trusts.NEXT, 1, TO_NEXT))
    assert not trust.list.pin(trusts.NEXT.public_key.pem)[1]


def test_a_removed_root_goes_with_all_that_it_signed(trust: TrustStore) -> None:
    trust.add(STRANGER.pem)
    put(trust, trusts.sound(3))
    assert trust.remove(trusts.ROOT.public_key.fingerprint[:10])
    assert trust.list.root() is None
    assert trust.fingerprints() == (STRANGER.fingerprint,)
    assert not (trust.directory / TRUST_NAME).exists()


def test_a_key_of_the_list_is_not_removed_by_hand(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    with pytest.raises(KeyInvalid, match="added by hand"):
        trust.remove(SIGNER.fingerprint)


def test_without_a_root_no_list_is_taken(tmp_path: Path) -> None:
    trust = TrustStore(tmp_path / "trust")
    with pytest.raises(TrustInvalid, match=f"holds no {ROOT_NAME}"):
        put(trust, trusts.sound(1))
    assert not (tmp_path / "trust").exists()


# --- what does not read means refusal ------------------------------------------------------


def everything(trust: TrustStore) -> None:
    """Ask all that anybody asks."""
    for ask in (trust.keys, trust.fingerprints, trust.revocations):
        with pytest.raises(StoreCorrupt):
            ask()


@pytest.mark.parametrize("data", [b"", b"{]", trusts.sound(3)[:-1], bytes(1 << 19)])
def test_a_damaged_list_means_refusal_and_is_mended_by_hand(
    trust: TrustStore, data: bytes
) -> None:
    trust.add(STRANGER.pem)
    put(trust, trusts.sound(3))
    overwrite(trust.directory / TRUST_NAME, data)
    everything(trust)
    assert put(trust, trusts.sound(4))
    assert trust.fingerprints()


def test_a_list_whose_signature_fails_means_refusal(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    overwrite(
        trust.directory / TRUST_NAME,
        trusts.signed(trusts.document(4, trusts.grant(STRANGER)), bundles.STRANGER),
    )
    with pytest.raises(StoreCorrupt, match="as its root signed it"):
        trust.keys()


def test_a_list_without_its_root_means_refusal(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    (trust.directory / ROOT_NAME).unlink()
    everything(trust)


@pytest.mark.parametrize("data", [b"", b"hello", trusts.ROOT.public_key.pem[:-5]])
def test_a_damaged_root_means_refusal(trust: TrustStore, data: bytes) -> None:
    put(trust, trusts.sound(3))
    overwrite(trust.directory / ROOT_NAME, data)
    everything(trust)


def test_another_root_in_its_place_means_refusal(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    overwrite(trust.directory / ROOT_NAME, trusts.NEXT.public_key.pem)
    with pytest.raises(StoreCorrupt):
        trust.keys()


def test_a_list_that_is_a_directory_means_refusal(trust: TrustStore) -> None:
    (trust.directory / TRUST_NAME).mkdir()
    with pytest.raises(StoreUnreadable):
        trust.keys()


def test_what_an_interrupted_update_left_counts_as_nothing(trust: TrustStore) -> None:
    put(trust, trusts.sound(3))
    (trust.directory / f".{TRUST_NAME}.tmp").write_bytes(trusts.sound(9)[:-9])
    assert trust.revocations().serial == 3
    assert put(trust, trusts.sound(4))


# --- keys for some names -------------------------------------------------------------------


def other_key() -> bytes:
    return KeySigner(ec.derive_private_key(77, ec.SECP256R1())).public_key.pem


def test_a_key_for_some_names_is_kept_with_them_in_one_file(tmp_path: Path) -> None:
    trust = TrustStore(tmp_path / "trust")
    key, changed = trust.add(other_key(), ("vision-*", "fraud", "fraud"))
    assert changed
    assert key.patterns == ("fraud", "vision-*")
    path = tmp_path / "trust" / "keys" / f"{key.fingerprint}.pem"
    head, _, pem = path.read_bytes().partition(b"\n")[0], None, key.pem
    assert head == b"for: fraud vision-*"
    assert path.read_bytes().endswith(pem)
    assert trust.keys()[0].patterns == ("fraud", "vision-*")


def test_names_of_a_key_are_changed_by_adding_it_again(tmp_path: Path) -> None:
    trust = TrustStore(tmp_path / "trust")
    for patterns, changed in ((("a",), True), (("a",), False), (("*",), True), (("b",), True)):
        assert trust.add(other_key(), patterns)[1] is changed
        assert trust.keys()[0].patterns == patterns


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b"for: fraud", b"for: fraue"),
        lambda data: data.replace(b"for: fraud\n", b""),
        lambda data: data.split(b"\n", 2)[2] + b"\n",
        lambda data: b"for: *\n" + data.partition(b"\n")[2],
        lambda data: data + b"\n",
    ],
)
def test_a_changed_file_of_a_key_for_some_names_is_refused(
    tmp_path: Path, edit: object
) -> None:
    trust = TrustStore(tmp_path / "trust")
    key, _ = trust.add(other_key(), ("fraud",))
    path = tmp_path / "trust" / "keys" / f"{key.fingerprint}.pem"
    overwrite(path, edit(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(StoreCorrupt):
        trust.keys()


def test_whoever_only_asks_waits_for_no_cryptography(trust: TrustStore) -> None:
    trust.add(STRANGER.pem, ("fraud",))
    put(trust, trusts.sound(3, keys=["0" * 64]))
    code = (
        "import sys; from pathlib import Path\n"
        "from edge_runtime.state.trust import TrustStore\n"
        "found = TrustStore(Path(sys.argv[1]))\n"
        "print(len(found.counted()), found.revocations().serial, found.list.root()[:8])\n"
        "found.digest()\n"
        "sys.exit('cryptography' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, trust.directory],
        env={"PYTHONPATH": str(Path(errors.__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "3", trusts.ROOT.public_key.fingerprint[:8]]

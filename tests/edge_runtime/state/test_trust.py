"""Keys that are trusted; and everything else in their place means refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract.errors import (
    KeyInvalid,
    NoTrustedKey,
    StoreCorrupt,
    StoreUnreadable,
)
from edge_runtime.state.trust import TrustStore


def make_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "trust" / "keys"


@pytest.fixture
def trust(directory: Path) -> TrustStore:
    return TrustStore(directory.parent)


def test_a_missing_directory_trusts_no_key(trust: TrustStore) -> None:
    assert trust.fingerprints() == ()
    with pytest.raises(NoTrustedKey, match="holds no key"):
        trust.keys()


def test_an_empty_directory_trusts_no_key(trust: TrustStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    with pytest.raises(NoTrustedKey):
        trust.keys()


def test_an_added_key_is_trusted_and_kept_under_its_fingerprint(
    trust: TrustStore, directory: Path
) -> None:
    key, changed = trust.add(make_key())
    assert changed
    (trusted,) = trust.keys()
    assert trusted.fingerprint == key.fingerprint
    path = directory / f"{key.fingerprint}.pem"
    assert path.read_bytes() == key.pem
    assert path.stat().st_mode & 0o777 == 0o444


def test_adding_a_key_again_changes_nothing(trust: TrustStore) -> None:
    pem = make_key()
    trust.add(pem)
    digest = trust.digest()
    _, changed = trust.add(pem)
    assert not changed
    assert trust.digest() == digest


def test_the_digest_tells_one_set_of_keys_from_another(trust: TrustStore) -> None:
    digests = [trust.digest()]
    first, _ = trust.add(make_key())
    digests.append(trust.digest())
    second, _ = trust.add(make_key())
    digests.append(trust.digest())
    trust.remove(first.fingerprint)
    digests.append(trust.digest())
    assert len(set(digests)) == 4
    trust.remove(second.fingerprint[:12])
    assert trust.digest() == digests[0]


def test_a_removal_must_mean_exactly_one_key(trust: TrustStore) -> None:
    trust.add(make_key())
    trust.add(make_key())
    for prefix in ("", "zz"):
        with pytest.raises(KeyInvalid, match="must mean one trusted key"):
            trust.remove(prefix)
    assert len(trust.fingerprints()) == 2


def test_what_is_no_public_key_leaves_nothing_behind(
    trust: TrustStore, directory: Path
) -> None:
    with pytest.raises(KeyInvalid):
        trust.add(b"garbage")
    assert not directory.exists()


def test_a_key_that_was_changed_on_disk_is_refused_and_no_other_counts(
    trust: TrustStore, directory: Path
) -> None:
    trust.add(make_key())
    victim, _ = trust.add(make_key())
    path = directory / f"{victim.fingerprint}.pem"
    path.chmod(0o644)
    path.write_bytes(make_key())
    with pytest.raises(StoreCorrupt, match=victim.fingerprint):
        trust.keys()
    with pytest.raises(StoreCorrupt):
        trust.fingerprints()


@pytest.mark.parametrize("name", ["release.pub", "._release.pub", "0" * 64, "x.pem"])
def test_a_foreign_file_among_the_keys_is_never_passed_over(
    trust: TrustStore, directory: Path, name: str
) -> None:
    trust.add(make_key())
    (directory / name).write_bytes(make_key())
    with pytest.raises(StoreCorrupt, match=name):
        trust.keys()


def test_a_directory_named_like_a_key_is_refused(trust: TrustStore, directory: Path) -> None:
    (directory / f"{'0' * 64}.pem").mkdir(parents=True)
    with pytest.raises(StoreCorrupt):
        trust.keys()


def test_what_an_interrupted_addition_left_counts_as_nothing(
    trust: TrustStore, directory: Path
) -> None:
    directory.mkdir(parents=True)
    (directory / f".{'0' * 64}.pem.tmp").write_bytes(b"torn")
    with pytest.raises(NoTrustedKey):
        trust.keys()
    trust.add(make_key())
    assert len(trust.keys()) == 1


def test_a_trust_directory_that_is_a_file_is_refused(
    trust: TrustStore, directory: Path
) -> None:
    directory.parent.mkdir()
    directory.write_bytes(b"")
    with pytest.raises(StoreUnreadable):
        trust.keys()

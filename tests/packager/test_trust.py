"""Lists as files: made, changed, handed over and carried, and read by the device's own code."""

from __future__ import annotations

import shutil
from pathlib import Path

import bundles
import devices
import pytest
import trusts
from certificates import leaf, root
from host import packager, tree

from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.trust_file import (
    MAX_ROTATIONS,
    MAX_SERIAL,
    TRUST_NAME,
    verify_trust,
)
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import TrustInvalid
from packager.bundle_file import read_bundle
from packager.release import sign_bundle, trust_of
from packager.stages.sign import KeySigner
from packager.trust import Trust, rotate_root, show_trust


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory with a root key, a list that trusts nobody yet, and a release key."""
    packager("keygen", cwd=tmp_path)
    packager("trust", "init", cwd=tmp_path)
    return tmp_path


def believed(desk: Path, root: str = "keys/root.pub") -> Trust:
    """Return the list, once the device's own code has verified it from a root key."""
    path = desk / "keys" / TRUST_NAME
    verify_trust(path.read_bytes(), PublicKey.load((desk / root).read_bytes()))
    return show_trust(path)


def test_a_new_list_trusts_nobody_and_its_root_key_is_kept_safe(desk):
    found = believed(desk)
    assert (found.document.serial, found.document.grants, found.rotations) == (1, (), 0)
    assert (desk / "keys/root.key").stat().st_mode & 0o777 == 0o600
    assert b"*.key" in (desk / "keys/.gitignore").read_bytes()


def test_a_key_is_added_for_names_and_again_for_others(desk):
    for number, patterns in enumerate((("b", "a-*"), ()), 2):
        flags = [word for pattern in patterns for word in ("--for", pattern)]
        packager("trust", "add", "keys/release.pub", *flags, cwd=desk)
        document = believed(desk).document
        assert document.serial == number
        (grant,) = document.grants
        assert grant.patterns == (tuple(sorted(patterns)) or ("*",))


def test_an_authority_is_added_by_its_certificate(desk):
    authority = root()
    (desk / "ca.pem").write_bytes(authority.pem)
    packager("trust", "add", "ca.pem", "--for", "vision-*", cwd=desk)
    (grant,) = believed(desk).document.grants
    assert grant.fingerprint == authority.fingerprint
    (desk / "leaf.pem").write_bytes(leaf(authority).pem)
    done = packager("trust", "add", "leaf.pem", cwd=desk, expect=4)
    assert "no right to issue others" in done.err


def test_what_is_withdrawn_stays_so_and_a_withdrawn_key_leaves_the_list(desk):
    packager("trust", "add", "keys/release.pub", cwd=desk)
    (grant,) = believed(desk).document.grants
    digest = "1" * 64
    packager("trust", "revoke", "--key", "keys/release.pub", cwd=desk)
    packager("trust", "revoke", "--release", "fraud@7", "--digest", digest, cwd=desk)
    document = believed(desk).document
    assert (document.serial, document.grants) == (4, ())
    assert document.revocations.keys == {grant.fingerprint}
    assert document.revocations.releases == {("fraud", 7)}
    assert document.revocations.digests == {digest}
    packager("trust", "add", "keys/release.pub", cwd=desk, expect=4)


def test_a_new_root_takes_over_and_devices_of_the_old_one_follow(desk):
    packager("trust", "add", "keys/release.pub", cwd=desk)
    (desk / "pass.txt").write_text("secret\n")
    encrypted = ("--new-passphrase-file", "pass.txt")
    packager("trust", "rotate", "--out", "next", *encrypted, cwd=desk)
    found = believed(desk)
    assert (found.document.serial, found.rotations) == (3, 1)
    assert found.root == PublicKey.load((desk / "next/root.pub").read_bytes()).fingerprint
    assert believed(desk, "next/root.pub") == found
    done = packager("trust", "revoke", "--release", "fraud@1", cwd=desk, expect=4)
    assert "must be signed by the root key" in done.err
    root_flags = ("--root", "next/root.key", "--passphrase-file", "pass.txt")
    packager("trust", "revoke", "--release", "fraud@1", *root_flags, cwd=desk)
    assert believed(desk).document.serial == 4


def test_a_new_root_begins_anew_where_all_serials_are_spent(desk):
    (desk / "list.json").write_bytes(trusts.sound(MAX_SERIAL))
    done = rotate_root(desk / "list.json", trusts.ROOT, desk / "next", None)
    assert done.document.serial == 1


def test_a_list_changes_its_root_a_bounded_number_of_times(desk):
    handed = [trusts.handover(trusts.ROOT, trusts.NEXT)] * MAX_ROTATIONS
    data = trusts.signed(trusts.document(3), trusts.NEXT, handed)
    (desk / "list.json").write_bytes(data)
    with pytest.raises(TrustInvalid, match=f"at most {MAX_ROTATIONS} times"):
        rotate_root(desk / "list.json", trusts.NEXT, desk / "next", None)
    assert not (desk / "next").exists()


def test_a_root_key_may_be_encrypted(desk):
    (desk / "pass.txt").write_text("secret\n")
    packager("trust", "init", "--out", "safe", "--passphrase-file", "pass.txt", cwd=desk)
    flags = ("--file", "safe/trust.json", "--root", "safe/root.key")
    packager("trust", "add", "keys/release.pub", *flags, cwd=desk, expect=3)
    flags = (*flags, "--passphrase-file", "pass.txt")
    packager("trust", "add", "keys/release.pub", *flags, cwd=desk)
    assert show_trust(desk / "safe/trust.json").document.serial == 2


def test_show_tells_all_that_a_list_says(desk):
    packager("trust", "add", "keys/release.pub", "--for", "fraud", cwd=desk)
    packager("trust", "revoke", "--release", "fraud@7", cwd=desk)
    shown = packager("trust", "show", "--json", cwd=desk).json
    found = believed(desk)
    (grant,) = found.document.grants
    assert shown["serial"] == 3
    assert shown["root"] == found.root
    assert shown["keys"] == [{"fingerprint": grant.fingerprint, "for": ["fraud"]}]
    assert shown["revoked_releases"] == ["fraud@7"]
    text = packager("trust", "show", cwd=desk).out
    assert f"  {grant.fingerprint}  fraud\n  withdrawn: fraud@7\n" in text


# --- bundles that carry a list -------------------------------------------------------------


@pytest.fixture
def bundle(desk: Path) -> Path:
    return bundles.bundle(desk / "tiny-1.4.0.oci.tar")


def outcome(path: Path) -> list[tuple[str, str]]:
    with verify_bundle(path, bundles.KEYS) as verified:
        verified.check()
        return [(package.digest, package.signer) for package in verified.packages]


def test_a_bundle_that_carries_a_list_is_the_same_bundle(desk, bundle):
    before = outcome(bundle), bundle.read_bytes()
    assert trust_of(bundle) is None
    packager("trust", "carry", bundle.name, cwd=desk)
    assert trust_of(bundle) == (desk / "keys" / TRUST_NAME).read_bytes()
    assert outcome(bundle) == before[0]
    targets = [target.manifest.target.name for target in read_bundle(bundle)]
    assert targets == list(bundles.TARGETS)


def test_a_list_is_replaced_and_outlives_signing_again(desk, bundle):
    packager("trust", "carry", bundle.name, cwd=desk)
    packager("trust", "add", "keys/release.pub", cwd=desk)
    packager("trust", "carry", bundle.name, cwd=desk)
    sign_bundle(bundle, bundles.STRANGER)
    assert trust_of(bundle) == (desk / "keys" / TRUST_NAME).read_bytes()


def test_an_unsigned_bundle_carries_a_list_as_well(desk):
    from packager.release import write_release

    images = [bundles.image(n, bundles.parts(bundles.manifest(n))) for n in bundles.TARGETS]
    write_release(desk / "b.oci.tar", images, None)
    packager("trust", "carry", "b.oci.tar", cwd=desk)
    assert trust_of(desk / "b.oci.tar")


def test_what_is_no_list_leaves_the_bundle_as_it_was(desk, bundle):
    (desk / "keys" / TRUST_NAME).write_text("{}")
    before = tree(desk)
    packager("trust", "carry", bundle.name, cwd=desk, expect=4)
    assert tree(desk) == before


# --- the whole way -------------------------------------------------------------------------


def test_a_device_that_knows_the_root_alone_installs_what_the_bundle_brings_along(desk):
    device = ("--store", desk / "store")
    assert devices.run(*device, "trust", "add", "--root", desk / "keys/root.pub").code == 0
    path = devices.packed(desk / "loan.oci.tar", devices.loan(), name="loan")
    assert "no-trusted-key" in devices.run(*device, "install", path).err
    (desk / "keys/test.pub").write_bytes(bundles.SIGNER.public_key.pem)
    packager("trust", "add", "keys/test.pub", "--for", "loan", cwd=desk)
    packager("trust", "carry", "loan.oci.tar", cwd=desk)
    said = devices.run(*device, "install", path, "--json")
    assert said.code == 0, said.err
    assert said.json["notes"] == ["trust.json serial 2 is in force from now on"]
    packager("trust", "rotate", "--out", "next", cwd=desk)
    flags = ("--root", "next/root.key")
    packager("trust", "revoke", "--key", "keys/test.pub", *flags, cwd=desk)
    stick = desk / "stick"
    stick.mkdir()
    shutil.copy(path, stick)
    shutil.copy(desk / "keys" / TRUST_NAME, stick)
    assert "signer-revoked" in devices.run(*device, "install", stick / path.name).err


def test_the_same_list_is_signed_to_the_same_bytes():
    first, second = (
        trusts.signed(trusts.document(1), KeySigner(trusts.ROOT.private_key)) for _ in range(2)
    )
    assert first == second

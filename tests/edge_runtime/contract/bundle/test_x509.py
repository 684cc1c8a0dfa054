"""Chains of certificates: the way to a pinned one, and what each place in it demands."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import bent
import bundles
import pytest
from certificates import (
    SERVERS,
    Issued,
    certified,
    issue,
    leaf,
    may_issue,
    may_sign,
    middle,
    root,
    usage,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.bundle.keyring import Keyring, Revocations
from edge_runtime.contract.bundle.signature import load_trusted
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.bundle.x509 import MAX_CHAIN, Authority, follow_chain
from edge_runtime.contract.errors import (
    KeyInvalid,
    SignatureInvalid,
    SignerRevoked,
    SignerUntrusted,
)

ROOT = root()
MIDDLE = middle(ROOT)
LEAF = leaf(MIDDLE)


def follow(*chain: Issued, pinned: Issued = ROOT) -> tuple[str, ...]:
    return follow_chain([item.der for item in chain], [pinned.authority()]).fingerprints


# --- ways that lead to a pinned certificate ------------------------------------------------


def test_a_chain_leads_from_the_signer_over_an_intermediate_to_the_pinned_root() -> None:
    wanted = tuple(item.fingerprint for item in (LEAF, MIDDLE, ROOT))
    assert follow(LEAF, MIDDLE) == wanted


def test_a_pinned_intermediate_is_enough_and_what_stands_above_it_is_not_looked_at() -> None:
    wanted = (LEAF.fingerprint, MIDDLE.fingerprint)
    assert follow(LEAF, pinned=MIDDLE) == wanted
    assert follow(LEAF, MIDDLE, ROOT, pinned=MIDDLE) == wanted


def test_a_root_that_stands_in_the_chain_as_well_does_no_harm() -> None:
    assert follow(LEAF, MIDDLE, ROOT)[-1] == ROOT.fingerprint


@pytest.mark.parametrize("now", [0.0, 4e9])
def test_no_clock_decides_and_certificates_long_over_count(
    now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    assert LEAF.certificate.not_valid_after_utc.year == 2000
    assert follow(LEAF, MIDDLE)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "P-521", "RSA"],
)
def test_an_authority_may_have_another_sound_key(key: Any) -> None:
    top = root(key=key)
    assert follow(leaf(top, algorithm=hashes.SHA384()), pinned=top)


# --- ways that do not ----------------------------------------------------------------------


def test_a_chain_to_another_root_of_the_same_name_is_not_trusted() -> None:
    with pytest.raises(SignerUntrusted, match="none of the certificates trusted here issued"):
        follow(LEAF, MIDDLE, pinned=root())


def test_a_chain_without_its_intermediate_is_not_trusted() -> None:
    with pytest.raises(SignerUntrusted):
        follow(LEAF)


def test_a_chain_is_not_trusted_where_only_keys_are(tmp_path: Path) -> None:
    path = bent.one(tmp_path / "b.oci.tar", certified(LEAF, MIDDLE))
    with pytest.raises(SignerUntrusted):
        verify_bundle(path, bundles.KEYS)


def test_certificates_in_another_order_are_refused() -> None:
    other = middle(ROOT)
    with pytest.raises(SignatureInvalid, match="each of which the next one issued"):
        follow(LEAF, other, MIDDLE, pinned=root())


def test_a_signers_certificate_issues_nothing() -> None:
    forged = leaf(LEAF)
    with pytest.raises(SignatureInvalid, match="no right to issue others"):
        follow(forged, LEAF, MIDDLE)


def test_a_certificate_that_calls_itself_an_authority_signs_no_bundle() -> None:
    with pytest.raises(SignatureInvalid, match="the right to issue others"):
        follow(MIDDLE)


def test_room_for_no_certificate_between_leaves_none() -> None:
    top = root(0)
    assert follow(leaf(top), pinned=top)
    below = middle(top)
    with pytest.raises(SignatureInvalid, match="room for 0 certificates"):
        follow(leaf(below), below, pinned=top)


def test_room_in_the_middle_of_a_chain_counts_too() -> None:
    first = middle(ROOT, 0)
    second = issue("second", first, may_issue())
    with pytest.raises(SignatureInvalid, match="room for 0 certificates"):
        follow(leaf(second), second, first)


BASIC = (x509.BasicConstraints(ca=True, path_length=None), True)
CONSTRAINED = x509.NameConstraints([x509.DNSName("example.org")], None)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ([], "no right to issue others"),
        ([(x509.BasicConstraints(ca=False, path_length=None), True)], "no right to issue"),
        ([BASIC], "no key usage for certificates"),
        ([BASIC, (usage("digital_signature"), True)], "no key usage for certificates"),
        ([*may_issue(), (SERVERS, False)], "other purposes than the signing of code"),
        ([*may_issue(), (CONSTRAINED, True)], "the extension 2.5.29.30"),
        ([*may_issue(), (CONSTRAINED, False)], "the extension 2.5.29.30"),
        ([*may_issue(), (UNKNOWN, True)], "the extension 1.2.3.4.5"),
    ],
)
def test_what_may_not_issue_is_refused_between_and_as_pinned(
    extensions: list[tuple[x509.ExtensionType, bool]], problem: str
) -> None:
    below = issue("middle", ROOT, extensions)
    with pytest.raises(SignatureInvalid, match=problem):
        follow(leaf(below), below)
    with pytest.raises(KeyInvalid, match=problem):
        below.authority()


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ([], "neither key usage nor purpose"),
        ([(usage("key_agreement"), True)], "a key usage without signatures"),
        ([(SERVERS, False)], "other purposes than the signing of code"),
        ([*may_sign(), (UNKNOWN, True)], "the extension 1.2.3.4.5"),
        ([BASIC, *may_sign()], "the right to issue others"),
    ],
)
def test_what_may_not_sign_signs_nothing(
    extensions: list[tuple[x509.ExtensionType, bool]], problem: str
) -> None:
    with pytest.raises(SignatureInvalid, match=problem):
        follow(leaf(ROOT, extensions))


def test_an_unknown_extension_that_is_not_critical_is_passed_over() -> None:
    assert follow(leaf(ROOT, [*may_sign(), (UNKNOWN, False)]))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_a_signer_has_a_p_256_key(key: Any) -> None:
    with pytest.raises(SignatureInvalid, match="a signer's EC P-256 key"):
        follow(leaf(ROOT, key=key))


def test_an_authority_with_a_short_key_is_not_pinned() -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - which is the point
    with pytest.raises(KeyInvalid, match="another kind or too short"):
        root(key=key).authority()


def test_an_authority_with_a_key_of_another_kind_is_not_pinned() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1)
    builder = builder.not_valid_before(ROOT.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(ROOT.certificate.not_valid_after_utc)
    for extension, critical in may_issue():
        builder = builder.add_extension(extension, critical)
    with pytest.raises(KeyInvalid, match="another kind or too short"):
        Issued(builder.sign(key, None), key).authority()


# --- what is no chain ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, MAX_CHAIN + 1])
def test_none_or_too_many_certificates_are_refused(count: int) -> None:
    with pytest.raises(SignatureInvalid, match=f"1 to {MAX_CHAIN} certificates"):
        follow_chain([LEAF.der] * count, [ROOT.authority()])


@pytest.mark.parametrize("data", [b"", b"0", LEAF.der[:-1], LEAF.der + b"0", bytes(20_000)])
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="certificates"):
        follow_chain([data], [ROOT.authority()])


@settings(max_examples=300, deadline=None)
@example(14, 128)  # a serial number below zero, of which cryptography only warns
@given(st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_certificate_is_taken(place: int, change: int) -> None:
    data = bytearray(LEAF.der)
    data[place] ^= change
    with pytest.raises((SignatureInvalid, SignerUntrusted)):
        follow_chain([bytes(data), MIDDLE.der], [ROOT.authority()])


@pytest.mark.parametrize(
    "data", [b"", LEAF.pem, ROOT.pem + ROOT.pem, ROOT.pem.replace(b"M", b"N", 3)]
)
def test_only_one_authority_is_pinned_at_a_time(data: bytes) -> None:
    with pytest.raises(KeyInvalid, match="a trusted certificate is one in PEM"):
        Authority.load(data)


def test_a_pinned_certificate_is_named_as_every_tool_prints_it() -> None:
    pinned = load_trusted(ROOT.pem, ("vision-*",))
    assert isinstance(pinned, Authority)
    assert pinned.fingerprint == ROOT.fingerprint
    assert pinned.patterns == ("vision-*",)


# --- bundles -------------------------------------------------------------------------------


def verified(path: Path, *trusted: Authority, revoked: Revocations | None = None) -> str:
    ring = Keyring(trusted, revoked or Revocations())
    with verify_bundle(path, ring) as bundle:
        bundle.check()
        return bundle.packages[0].signer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return bent.one(tmp_path / "b.oci.tar", certified(LEAF, MIDDLE))


def test_a_bundle_signed_by_a_certificate_is_believed_and_names_it(path: Path) -> None:
    assert verified(path, ROOT.authority()) == LEAF.fingerprint


def test_names_that_an_authority_is_pinned_for_hold_for_what_it_issued(path: Path) -> None:
    assert verified(path, ROOT.authority("t?ny", "x"))
    with pytest.raises(SignerUntrusted, match=r"which is trusted for vision-\* alone"):
        verified(path, ROOT.authority("vision-*"))


@pytest.mark.parametrize("withdrawn", [LEAF, MIDDLE, ROOT])
def test_a_withdrawn_certificate_anywhere_on_the_way_is_refused(
    path: Path, withdrawn: Issued
) -> None:
    revoked = Revocations(3, frozenset({withdrawn.fingerprint}))
    with pytest.raises(SignerRevoked, match="serial 3"):
        verified(path, ROOT.authority(), revoked=revoked)


def test_a_withdrawn_key_is_refused_in_a_certificate_as_well(path: Path) -> None:
    name = LEAF.signer.public_key.fingerprint
    with pytest.raises(SignerRevoked):
        verified(path, ROOT.authority(), revoked=Revocations(1, frozenset({name})))


def test_a_signature_by_another_key_than_the_certificates_is_refused(tmp_path: Path) -> None:
    parts = certified(Issued(LEAF.certificate, bundles.STRANGER.private_key), MIDDLE)
    path = bent.one(tmp_path / "b.oci.tar", parts)
    with pytest.raises(SignatureInvalid, match="one that fails"):
        verified(path, ROOT.authority())


@pytest.mark.parametrize(
    "chain",
    [
        {"certificates": []},
        {"certificates": [{}]},
        {"certificates": [{"rawBytes": "not base64!"}]},
        {"certificates": [{"rawBytes": base64.b64encode(LEAF.der).decode(), "more": 1}]},
        {"certificates": [{"rawBytes": ""}] * (MAX_CHAIN + 1)},
        {"certificates": "x"},
        {"certificates": [], "more": 1},
        None,
        [],
    ],
)
def test_another_form_of_chain_is_refused(tmp_path: Path, chain: Any) -> None:
    parts = certified(LEAF, MIDDLE)
    document = json.loads(parts[1].data)
    document["verificationMaterial"]["x509CertificateChain"] = chain
    changed = bent.Part("model.sig", json.dumps(document).encode())
    path = bent.one(tmp_path / "b.oci.tar", [parts[0], changed, *parts[2:]])
    with pytest.raises(SignatureInvalid):
        verified(path, ROOT.authority())


def test_a_key_and_a_chain_at_once_are_refused(tmp_path: Path) -> None:
    parts = certified(LEAF, MIDDLE)
    document = json.loads(parts[1].data)
    document["verificationMaterial"]["publicKey"] = {"hint": "0" * 64}
    changed = bent.Part("model.sig", json.dumps(document).encode())
    path = bent.one(tmp_path / "b.oci.tar", [parts[0], changed, *parts[2:]])
    with pytest.raises(SignatureInvalid, match="unknown key 'publicKey'"):
        verified(path, ROOT.authority())

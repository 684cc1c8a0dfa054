"""Names of certificates: no second form of one gets around a withdrawal."""

from __future__ import annotations

import hashlib

import bent
import bundles
import pytest
from certificates import Issued, certified, leaf, middle, root
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.certificate_names import certificate_names
from edge_runtime.contract.bundle.keyring import Keyring, Revocations, claimed_signers
from edge_runtime.contract.bundle.manifest import SIGNATURE_NAME
from edge_runtime.contract.bundle.signature import verify_signature
from edge_runtime.contract.bundle.x509 import follow_chain
from edge_runtime.contract.errors import SignerRevoked

ROOT = root()
MIDDLE = middle(ROOT)
LEAF = leaf(MIDDLE)
CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())


def twin(one: Issued, curve: ec.EllipticCurve = CURVES[0]) -> bytes:
    """Return the other certificate that anybody can make of one."""
    signed, signature = one.certificate.tbs_certificate_bytes, one.certificate.signature
    r, s = decode_dss_signature(signature)
    other = encode_dss_signature(r, curve.group_order - s)
    algorithm = one.der[one.der.index(signed) + len(signed) : one.der.rindex(b"\x03")]
    algorithm = algorithm[: algorithm[1] + 2]
    return sequence(signed + algorithm + b"\x03" + length(b"\0" + other))


def sequence(body: bytes) -> bytes:
    return b"\x30" + length(body)


def length(body: bytes) -> bytes:
    """Return bytes behind their length, as X.690 has it."""
    if len(body) < 128:
        return bytes([len(body)]) + body
    size = len(body).to_bytes(1 if len(body) < 256 else 2, "big")
    return bytes([128 + len(size)]) + size + body


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_a_certificate_goes_by_the_name_of_its_twin_too(curve: ec.EllipticCurve) -> None:
    authority = root(key=ec.generate_private_key(curve))
    signer = leaf(authority)
    other = twin(signer, curve)
    assert other != signer.der
    names = certificate_names(signer.der)
    assert names[0] == signer.fingerprint
    assert hashlib.sha256(other).hexdigest() in names
    assert signer.fingerprint in certificate_names(other)
    assert follow_chain([other], [authority.authority()]).key  # it holds as well


def test_a_withdrawn_certificate_is_withdrawn_in_its_other_form_too() -> None:
    signer = leaf(MIDDLE)
    for keys in ([signer.fingerprint], [hashlib.sha256(twin(signer)).hexdigest()]):
        ring = Keyring((ROOT.authority(),), Revocations(7, frozenset(keys)))
        for leaf_der in (signer.der, twin(signer)):
            parts = certified(signer, MIDDLE)
            data = bent.envelope(
                bent.named(parts, SIGNATURE_NAME).data,
                lambda found, der=leaf_der: found["verificationMaterial"][
                    "x509CertificateChain"
                ]["certificates"][0].update(rawBytes=bent.base64_text(der)),
            )
            assert set(keys) & set(claimed_signers(data))
            with pytest.raises(SignerRevoked):
                verify_signature(data, ring)


def test_a_certificate_signed_by_rsa_has_no_twin() -> None:
    authority = root(key=rsa.generate_private_key(65537, 2048))
    signer = leaf(authority)
    assert certificate_names(signer.der) == (signer.fingerprint,)


def test_a_signature_with_bits_to_spare_is_no_other_form() -> None:
    at = LEAF.der.rindex(b"\0" + LEAF.certificate.signature)
    for spare in range(1, 8):
        bits = LEAF.der[:at] + bytes([spare]) + LEAF.der[at + 1 :]
        with pytest.raises(ValueError, match="bits to spare"):
            certificate_names(bits)


def test_lengths_and_numbers_longer_than_they_need_be_are_no_other_form() -> None:
    for data in (LEAF.der + b"\0", LEAF.der[:-1], b"", b"\x30\x80", b"\x30\x00"):
        with pytest.raises(ValueError, match=r"."):
            certificate_names(data)
    head = LEAF.der[:4]
    assert head[1] == 0x82
    with pytest.raises(ValueError, match="another form"):
        certificate_names(head[:1] + b"\x83\0" + head[2:] + LEAF.der[4:])


@settings(max_examples=500)
@given(st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_no_changed_byte_keeps_a_name(place: int, change: int) -> None:
    data = bytearray(LEAF.der)
    data[place] ^= change
    try:
        names = certificate_names(bytes(data))
    except ValueError:
        return
    assert LEAF.fingerprint not in names


@given(st.binary(max_size=300))
def test_any_bytes_have_names_or_are_refused(data: bytes) -> None:
    for one in (data, b"\x30\x82\x01\x2c" + data):
        try:
            certificate_names(one)
        except ValueError:
            continue


def test_a_key_is_called_as_before() -> None:
    data = bent.named(bent.honest(), SIGNATURE_NAME).data
    assert claimed_signers(data) == (bundles.SIGNER.public_key.fingerprint,)
    assert claimed_signers(strictjson.dumps({})) == ()

"""Signatures: what is believed, and that nothing else is ever raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bent
import bundles
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import MAX_SIGNATURE_BYTES
from edge_runtime.contract.bundle.signature import (
    PublicKey,
    pre_authentication,
    statement,
    verify_signature,
)
from edge_runtime.contract.errors import (
    EdgepackError,
    JsonMalformed,
    KeyInvalid,
    NoTrustedKey,
    SignatureInvalid,
    SignerUntrusted,
)

FILES = {"variants/a.onnx": b"weights", "manifest.json": b"{}", "B.md": b"text"}
DIGESTS = {path: sha256_hex(data) for path, data in FILES.items()}
Edit = Callable[[dict[str, Any]], object]


def claims() -> dict[str, Any]:
    """Return a sound statement, to be edited."""
    found: dict[str, Any] = json.loads(statement("tiny", DIGESTS))
    return found


SOUND = bent.sign_claims(claims())


def verified(data: bytes) -> dict[str, str]:
    return verify_signature(data, bundles.KEYS)[0]


# --- what is signed ------------------------------------------------------------------------


def test_the_signed_digests_and_the_signer_come_back() -> None:
    digests, key = verify_signature(SOUND, [bundles.STRANGER.public_key, *bundles.KEYS])
    assert digests == DIGESTS
    assert key.fingerprint == bundles.SIGNER.public_key.fingerprint


def test_signing_again_gives_the_same_bytes() -> None:
    assert bent.sign_claims(claims()) == SOUND


def test_the_pre_authentication_encoding_is_that_of_dsse() -> None:
    assert pre_authentication(b"hello world") == (
        b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    )


def test_files_are_listed_in_the_order_of_their_paths_part_by_part() -> None:
    paths = ["a/b", "a-b", "a", "B", "a/a", "b"]
    listed = json.loads(statement("x", dict.fromkeys(paths, "0" * 64)))
    names = [item["name"] for item in listed["predicate"]["resources"]]
    assert names == ["B", "a", "a/a", "a/b", "a-b", "b"]


# --- keys ----------------------------------------------------------------------------------


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


def test_a_public_key_is_read_and_named_by_the_digest_of_its_text() -> None:
    pem = bundles.SIGNER.public_key.pem
    assert PublicKey.load(pem).fingerprint == sha256_hex(pem)
    assert PublicKey.load(b"a comment\r\n" + pem.replace(b"\n", b"\r\n")).pem == pem


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "an EC key on secp384r1"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "an EC key on secp256k1"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "RSAPublicKey"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "Ed25519PublicKey"),
        (private_pem(bundles.SIGNER.private_key), "a private key"),
        (
            bundles.SIGNER.public_key.pem + private_pem(bundles.SIGNER.private_key),
            "a private key",
        ),
        (b"", "no key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no key"),
        (b"ssh-ed25519 AAAA", "no key"),
    ],
)
def test_any_other_key_is_refused_naming_what_it_is(data: bytes, found: str) -> None:
    with pytest.raises(KeyInvalid, match=f"an EC P-256 public key in PEM, found {found}"):
        PublicKey.load(data)


PEM = bundles.SIGNER.public_key.pem


@settings(max_examples=300)
@given(
    st.binary(max_size=100)
    | st.tuples(st.integers(0, len(PEM) - 1), st.integers(0, 255)).map(
        lambda change: PEM[: change[0]] + bytes([change[1]]) + PEM[change[0] + 1 :]
    )
)
def test_no_key_file_raises_anything_but_a_typed_error(data: bytes) -> None:
    try:
        PublicKey.load(data)
    except KeyInvalid:
        return


# --- who signed ----------------------------------------------------------------------------


def test_no_trusted_key_means_refusal() -> None:
    with pytest.raises(NoTrustedKey, match="no key is trusted here"):
        verify_signature(SOUND, [])


def test_another_signer_is_refused_naming_both_keys() -> None:
    data = bent.sign_claims(claims(), bundles.STRANGER)
    with pytest.raises(SignerUntrusted) as caught:
        verified(data)
    stranger, trusted = bundles.STRANGER.public_key, bundles.SIGNER.public_key
    assert caught.value.values == {
        "found": stranger.fingerprint,
        "expected": [trusted.fingerprint],
    }


def test_a_signature_under_a_borrowed_name_is_refused() -> None:
    def borrow(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["publicKey"]["hint"] = trusted

    trusted = bundles.SIGNER.public_key.fingerprint
    forged = bent.envelope(bent.sign_claims(claims(), bundles.STRANGER), borrow)
    with pytest.raises(SignatureInvalid, match="found one that fails"):
        verified(forged)


def test_a_changed_payload_is_refused_before_it_is_parsed() -> None:
    def tamper(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payload"] = bent.base64_text(b"[" * 100_000)

    with pytest.raises(SignatureInvalid, match="found one that fails"):
        verified(bent.envelope(SOUND, tamper))


# --- the outer form ------------------------------------------------------------------------


def outer(path: str, value: Any) -> Edit:
    """Return an edit that sets one value deep inside a document."""

    def edit(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            document = document[key]
        document[last] = value

    return edit


GOOD = json.loads(SOUND)["dsseEnvelope"]["signatures"][0]


@pytest.mark.parametrize(
    "edit",
    [
        outer("mediaType", "application/vnd.dev.sigstore.bundle.v0.2+json"),
        outer("verificationMaterial.publicKey.hint", "\x1b[2J"),
        outer("verificationMaterial.publicKey.hint", "AB" * 32),
        outer("verificationMaterial.publicKey", None),
        outer("verificationMaterial.x509CertificateChain", {"certificates": []}),
        outer("verificationMaterial.tlogEntries", [{}]),
        outer("dsseEnvelope.payloadType", "application/json"),
        outer("dsseEnvelope.payload", "not base64!"),
        outer("dsseEnvelope.payload", "\N{SNOWMAN}"),
        outer("dsseEnvelope.payload", ""),
        outer("dsseEnvelope.signatures", []),
        outer("dsseEnvelope.signatures", [GOOD, GOOD]),
        outer("dsseEnvelope.signatures", [{**GOOD, "sig": ""}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "sig": "AAAA"}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "extra": 1}]),
        outer("dsseEnvelope.signatures", [[]]),
        outer("dsseEnvelope.more", {}),
        outer("unknown", 1),
        lambda document: document.pop("dsseEnvelope"),
        lambda document: document["verificationMaterial"].pop("tlogEntries"),
    ],
)
def test_another_outer_form_is_refused(edit: Edit) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        verified(bent.envelope(SOUND, edit))
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", SOUND[:-1], SOUND * 2, b'{"a":1,"a":1}', b"[" * 10_000]
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises((JsonMalformed, SignatureInvalid)):
        verified(data)


def test_a_signature_of_a_megabyte_is_refused_unread() -> None:
    with pytest.raises(JsonMalformed, match=f"more than the {MAX_SIGNATURE_BYTES} allowed"):
        verified(SOUND + b" " * MAX_SIGNATURE_BYTES)


# --- the signed statement ------------------------------------------------------------------


def resource(**fields: Any) -> dict[str, Any]:
    return {"algorithm": "sha256", "digest": "0" * 64, "name": "x", **fields}


def files(*items: Any) -> Edit:
    return outer("predicate.resources", list(items))


METHOD = claims()["predicate"]["serialization"]


@pytest.mark.parametrize(
    "edit",
    [
        outer("_type", "https://in-toto.io/Statement/v0.1"),
        outer("predicateType", "https://model_signing/Digests/v0.1"),
        outer("predicateType", "https://slsa.dev/provenance/v1"),
        outer("predicateType", "https://model_signing/signature/v1.0/"),
        files(resource(algorithm="sha512", digest="0" * 128)),
        files(resource(algorithm="sha1")),
        files(resource(algorithm="sha256-sharded-1000000")),
        files(resource(digest="AB" * 32)),
        files(resource(digest="")),
        files(resource(name=1)),
        files(resource(), resource()),
        files(resource(extra=1)),
        files("x"),
        outer("predicate.serialization", {**METHOD, "method": "shards", "shard_size": 10}),
        outer("predicate.serialization", {**METHOD, "shard_size": 1_000_000}),
        outer("predicate.serialization", {**METHOD, "hash_type": "blake2b"}),
        outer("predicate.serialization", {**METHOD, "allow_symlinks": True}),
        outer("predicate.serialization", {**METHOD, "ignore_paths": ["variants"]}),
        outer("predicate.serialization", {**METHOD, "ignore_paths": ["."]}),
        outer("predicate.serialization", {**METHOD, "ignore_paths": "model.sig"}),
        outer("predicate.serialization", {**METHOD, "ignore_paths": [["model.sig"]]}),
        outer("predicate.serialization", {"method": "files", "hash_type": "sha256"}),
        outer("predicate.serialization", []),
        outer("subject", []),
        outer("subject", claims()["subject"] * 2),
        outer("subject", [{"name": "tiny", "digest": {"sha256": "0" * 64}}]),
        outer("subject", [{"name": "tiny", "digest": {"sha512": "0" * 128}}]),
        lambda document: document["predicate"]["resources"].reverse(),
        lambda document: document["predicate"]["resources"].pop(),
        lambda document: document.pop("subject"),
        lambda document: document.pop("predicate"),
    ],
)
def test_a_statement_of_another_form_is_refused_though_validly_signed(edit: Edit) -> None:
    document = claims()
    edit(document)
    with pytest.raises(SignatureInvalid) as caught:
        verified(bent.sign_claims(document))
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"_type":1,"_type":1}'])
def test_a_payload_that_is_no_statement_is_refused_though_validly_signed(
    payload: bytes,
) -> None:
    with pytest.raises((JsonMalformed, SignatureInvalid)):
        verified(bent.sign_claims(payload))


def test_what_the_reference_tool_lists_as_ignored_is_no_hindrance() -> None:
    document = claims()
    document["predicate"]["serialization"]["ignore_paths"] = [".gitignore", ".git", "model.sig"]
    assert verified(bent.sign_claims(document)) == DIGESTS


def test_too_many_files_are_refused() -> None:
    document = json.loads(statement("x", {f"f{n}": "0" * 64 for n in range(1002)}))
    with pytest.raises(SignatureInvalid, match="a list of at most 1001 items"):
        verified(bent.sign_claims(document))


# --- no input raises anything else ---------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(GOOD["sig"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
OUTER_PATHS = [
    "mediaType",
    "verificationMaterial",
    "verificationMaterial.publicKey",
    "verificationMaterial.publicKey.hint",
    "verificationMaterial.tlogEntries",
    "dsseEnvelope",
    "dsseEnvelope.payload",
    "dsseEnvelope.payloadType",
    "dsseEnvelope.signatures",
    "dsseEnvelope.signatures.0",
]
INNER_PATHS = [
    "_type",
    "subject",
    "predicateType",
    "predicate",
    "predicate.resources",
    "predicate.serialization",
    "predicate.serialization.ignore_paths",
    "predicate.serialization.method",
]


def edited(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    if path.endswith(".0"):
        path, value = path.removesuffix(".0"), [value]
    outer(path, value)(document)
    return document


@given(st.sampled_from(OUTER_PATHS), json_values)
def test_no_envelope_raises_anything_but_a_typed_error(path: str, value: Any) -> None:
    data = json.dumps(edited(json.loads(SOUND), path, value)).encode()
    try:
        assert verified(data) == DIGESTS
    except EdgepackError:
        return


@given(st.sampled_from(INNER_PATHS), json_values)
def test_no_statement_raises_anything_but_a_typed_error(path: str, value: Any) -> None:
    data = bent.sign_claims(edited(claims(), path, value))
    try:
        assert verified(data) == DIGESTS
    except EdgepackError:
        return


@given(st.binary(max_size=80))
def test_no_signature_bytes_raise_anything_but_a_typed_error(signature: bytes) -> None:
    def replace(document: dict[str, Any]) -> None:
        text = bent.base64_text(signature)
        document["dsseEnvelope"]["signatures"][0]["sig"] = text

    with pytest.raises(SignatureInvalid):
        verified(bent.envelope(SOUND, replace))

"""``trust.json``: what is believed of it, and that nothing else is ever raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bent
import pytest
import trusts
from certificates import leaf, root
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.bundle.keyring import (
    MAX_PATTERNS,
    check_patterns,
    matches,
    pem_fingerprint,
)
from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.trust_file import (
    DOCUMENT_TYPE,
    MAX_KEYS,
    MAX_REVOKED,
    MAX_ROTATIONS,
    MAX_SERIAL,
    MAX_TRUST_BYTES,
    ROTATION_TYPE,
    TrustDocument,
    parse_document,
    read_trust_file,
    verify_trust,
)
from edge_runtime.contract.bundle.trust_render import render_document, render_trust_file
from edge_runtime.contract.errors import KeyInvalid, TrustInvalid

ROOT = trusts.ROOT.public_key
AUTHORITY = root()
LISTED = trusts.document(
    7,
    trusts.grant(trusts.SIGNER),
    trusts.grant(trusts.STRANGER, "fraud", "vision-*"),
    trusts.grant(AUTHORITY.authority()),
    keys=["0" * 64],
    releases=[("fraud", 1_004_000)],
    digests=["1" * 64],
)
SOUND = trusts.signed(LISTED)
Edit = Callable[[dict[str, Any]], object]


# --- what is believed ----------------------------------------------------------------------


def test_what_the_root_signed_comes_back() -> None:
    found = verify_trust(SOUND, ROOT)
    assert (found.document, found.root.fingerprint, found.steps) == (
        LISTED,
        ROOT.fingerprint,
        0,
    )


def test_signing_again_gives_the_same_bytes() -> None:
    assert trusts.signed(LISTED) == SOUND


def test_keys_and_certificates_of_the_list_verify_for_their_names() -> None:
    loaded = [one.load() for one in LISTED.grants]
    assert [one.patterns for one in loaded] == [("*",), ("fraud", "vision-*"), ("*",)]
    assert loaded[2].fingerprint == AUTHORITY.fingerprint


HANDED = [trusts.handover(trusts.ROOT, trusts.NEXT), trusts.handover(trusts.NEXT, trusts.THIRD)]


@pytest.mark.parametrize(
    ("known", "steps"), [(trusts.ROOT, 2), (trusts.NEXT, 1), (trusts.THIRD, 0)]
)
def test_a_device_finds_its_way_from_any_root_before_to_the_present_one(
    known: Any, steps: int
) -> None:
    data = trusts.signed(LISTED, trusts.THIRD, HANDED)
    found = verify_trust(data, known.public_key)
    assert (found.root.fingerprint, found.steps) == (trusts.THIRD.public_key.fingerprint, steps)


# --- what is not ---------------------------------------------------------------------------


def refused(data: bytes, match: str | None = None, known: Any = trusts.ROOT) -> TrustInvalid:
    with pytest.raises(TrustInvalid, match=match) as caught:
        verify_trust(data, known.public_key)
    assert caught.value.message.isprintable()
    return caught.value


def test_another_root_is_refused_naming_both() -> None:
    error = refused(trusts.signed(LISTED, trusts.NEXT), "must be signed by the root key")
    assert error.values["found"] == trusts.NEXT.public_key.fingerprint
    assert error.values["expected"] == ROOT.fingerprint


def test_a_root_that_was_left_behind_signs_nothing_any_more() -> None:
    refused(trusts.signed(LISTED), "must be signed by the root key", known=trusts.NEXT)
    handed_back = trusts.signed(LISTED, trusts.ROOT, HANDED)
    refused(handed_back, "must be signed by the root key")


def test_a_change_of_root_by_somebody_else_is_refused() -> None:
    forged = trusts.handover(trusts.THIRD, trusts.NEXT)
    claimed = type(forged)(forged.payload, ROOT.fingerprint, forged.signature)
    refused(trusts.signed(LISTED, trusts.NEXT, [claimed]), "found one that fails")
    refused(trusts.signed(LISTED, trusts.NEXT, [forged]), "must be signed by the root key")


def test_a_change_of_root_to_no_key_is_refused() -> None:
    pem = AUTHORITY.pem.decode()
    payload = trusts.render_rotation(pem)
    handed = trusts.enveloped(payload, trusts.ROOT, ROTATION_TYPE)
    refused(trusts.signed(LISTED, trusts.NEXT, [handed]), "an EC P-256 key as new root")


def test_what_was_signed_as_one_thing_is_not_read_as_another() -> None:
    payload = render_document(LISTED)
    for signature_type in (ROTATION_TYPE, "application/vnd.in-toto+json"):
        envelope = trusts.enveloped(payload, trusts.ROOT, signature_type)
        refused(render_trust_file((), envelope), "found one that fails")


def test_a_changed_document_is_refused_before_it_is_parsed() -> None:
    def tamper(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payload"] = bent.base64_text(b"[" * 100_000)

    refused(bent.envelope(SOUND, tamper), "found one that fails")


def test_a_key_in_another_form_of_its_text_is_refused() -> None:
    text = trusts.SIGNER.pem.decode().replace("\n", "\n\n", 1)
    name = pem_fingerprint(text)
    assert name is not None
    grant = type(LISTED.grants[0])(text, name, ("*",))
    refused(trusts.signed(TrustDocument(1, (grant,))), "as our libraries write it")


def test_a_certificate_that_issues_nothing_is_no_key_of_a_list() -> None:
    signer = leaf(AUTHORITY)
    grant = type(LISTED.grants[0])(signer.pem.decode(), signer.fingerprint, ("*",))
    refused(trusts.signed(TrustDocument(1, (grant,))), "one with the right|no right to issue")


# --- forms ---------------------------------------------------------------------------------


def outer(path: str, value: Any) -> Edit:
    """Return an edit that sets one value deep inside a document."""

    def edit(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            document = document[key]
        document[last] = value

    return edit


GOOD = json.loads(SOUND)["dsseEnvelope"]["signatures"][0]
LINK = json.loads(trusts.signed(LISTED, trusts.NEXT, HANDED[:1]))["rotations"][0]


@pytest.mark.parametrize(
    "edit",
    [
        outer("mediaType", "application/vnd.edgepack.trust.v2+json"),
        outer("rotations", None),
        outer("rotations", [{}]),
        outer("rotations", [LINK] * (MAX_ROTATIONS + 1)),
        outer("rotations", [{**LINK, "more": 1}]),
        outer("rotations", [{**LINK, "payloadType": DOCUMENT_TYPE}]),
        outer("dsseEnvelope.payloadType", "application/json"),
        outer("dsseEnvelope.payload", "not base64!"),
        outer("dsseEnvelope.payload", ""),
        outer("dsseEnvelope.signatures", []),
        outer("dsseEnvelope.signatures", [GOOD, GOOD]),
        outer("dsseEnvelope.signatures", [{**GOOD, "sig": ""}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "sig": "AAAA"}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "keyid": "\x1b[2J"}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "keyid": ""}]),
        outer("dsseEnvelope.signatures", [{**GOOD, "extra": 1}]),
        outer("dsseEnvelope.signatures", [[]]),
        outer("dsseEnvelope.more", {}),
        outer("unknown", 1),
        lambda document: document.pop("dsseEnvelope"),
        lambda document: document.pop("rotations"),
    ],
)
def test_another_outer_form_is_refused(edit: Edit) -> None:
    refused(bent.envelope(SOUND, edit))


KEY = {"pem": trusts.SIGNER.pem.decode(), "for": ["*"]}


@pytest.mark.parametrize(
    "edit",
    [
        outer("schema", "edgepack.trust/2"),
        outer("serial", 0),
        outer("serial", -1),
        outer("serial", MAX_SERIAL + 1),
        outer("serial", True),
        outer("serial", "7"),
        outer("serial", 7.0),
        outer("keys", {}),
        outer("keys", [KEY, KEY]),
        outer("keys", [KEY] * (MAX_KEYS + 1)),
        outer("keys", [{**KEY, "for": []}]),
        outer("keys", [{**KEY, "for": ["[a-z]"]}]),
        outer("keys", [{**KEY, "for": ["UPPER"]}]),
        outer("keys", [{**KEY, "for": ["../*"]}]),
        outer("keys", [{**KEY, "for": "*"}]),
        outer("keys", [{**KEY, "for": [f"n{n}" for n in range(MAX_PATTERNS + 1)]}]),
        outer("keys", [{**KEY, "until": "2030"}]),
        outer("keys", [{"pem": KEY["pem"]}]),
        outer("keys", [{**KEY, "pem": "-----BEGIN PUBLIC KEY-----\n"}]),
        outer("keys", [{**KEY, "pem": KEY["pem"] * 2}]),
        outer("revoked_keys", ["abc"]),
        outer("revoked_keys", ["A" * 64]),
        outer("revoked_keys", ["0" * 64] * (MAX_REVOKED + 1)),
        outer("revoked_keys", None),
        outer("revoked_digests", [1]),
        outer("revoked_releases", [{"name": "fraud"}]),
        outer("revoked_releases", [{"name": "../x", "release": 1}]),
        outer("revoked_releases", [{"name": "fraud", "release": 1, "below": 2}]),
        outer("revoked_releases", ["fraud@1"]),
        outer("more", 1),
        lambda document: document.pop("revoked_keys"),
        lambda document: document.pop("serial"),
    ],
)
def test_another_document_is_refused_though_validly_signed(edit: Edit) -> None:
    document = json.loads(render_document(LISTED))
    edit(document)
    envelope = trusts.enveloped(json.dumps(document).encode(), trusts.ROOT)
    refused(render_trust_file((), envelope))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"\xff", SOUND[:-1], SOUND * 2, b'{"a":1,"a":1}', b"[" * 10_000],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    refused(data)


def test_a_list_that_is_too_large_is_refused_unread() -> None:
    refused(SOUND + b" " * MAX_TRUST_BYTES, f"more than the {MAX_TRUST_BYTES} allowed")


def test_the_largest_list_that_is_allowed_fits() -> None:
    names = [f"{n:064x}" for n in range(MAX_REVOKED)]
    full = trusts.document(
        MAX_SERIAL,
        *LISTED.grants,
        keys=names,
        digests=names,
        releases=[("n" * 64, n) for n in range(MAX_REVOKED // 4)],
    )
    assert verify_trust(trusts.signed(full), ROOT).document == full


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("*", "fraud", True),
        ("vision-*", "vision-", True),
        ("vision-*", "vision-street", True),
        ("vision-*", "super-vision-street", False),
        ("fraud", "fraud2", False),
        ("fraud", "fraud", True),
        ("frau?", "fraud", True),
        ("a.b", "axb", False),
        ("*-beta", "x-beta", True),
    ],
)
def test_a_pattern_stands_for_whole_names(pattern: str, name: str, found: bool) -> None:
    assert matches([pattern], name) is found


def test_patterns_come_sorted_and_each_once() -> None:
    assert check_patterns(["b", "a*", "b"]) == ("a*", "b")


@pytest.mark.parametrize(
    "pattern", ["", "[ab]", "A", "a/b", "a b", "a\nb", "é", "x" * 65, "!a"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(KeyInvalid, match="patterns of model names"):
        check_patterns([pattern])


def test_a_fingerprint_without_cryptography_is_that_of_the_library() -> None:
    for key in (trusts.SIGNER, AUTHORITY.authority()):
        assert pem_fingerprint(key.pem.decode()) == key.fingerprint
    assert PublicKey.load(trusts.SIGNER.pem).fingerprint == trusts.SIGNER.fingerprint


# --- no input raises anything else ---------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(GOOD["sig"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
OUTER = ["mediaType", "rotations", "dsseEnvelope", "dsseEnvelope.payload"]
OUTER += ["dsseEnvelope.payloadType", "dsseEnvelope.signatures"]
INNER = ["schema", "serial", "keys", "revoked_keys", "revoked_releases", "revoked_digests"]


@given(st.sampled_from(OUTER), json_values)
def test_no_outer_form_raises_anything_but_a_typed_error(path: str, value: Any) -> None:
    data = bent.envelope(SOUND, outer(path, value))
    try:
        # Changes of root that this root never made are passed over.
        assert verify_trust(data, ROOT).document == LISTED
    except TrustInvalid:
        return


@given(st.sampled_from(INNER), json_values)
def test_no_document_raises_anything_but_a_typed_error(path: str, value: Any) -> None:
    document = json.loads(render_document(LISTED))
    outer(path, value)(document)
    try:
        found = parse_document(json.dumps(document).encode())
    except TrustInvalid:
        return
    assert parse_document(render_document(found)) == found


@given(st.integers(0, len(SOUND) - 1), st.integers(0, 255))
def test_no_changed_byte_changes_what_is_believed(place: int, value: int) -> None:
    data = SOUND[:place] + bytes([value]) + SOUND[place + 1 :]
    try:
        assert verify_trust(data, ROOT).document == LISTED
    except TrustInvalid:
        return


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_typed_error(data: bytes) -> None:
    with pytest.raises(TrustInvalid):
        read_trust_file(data)

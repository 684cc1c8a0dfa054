"""Who may sign what, and what was withdrawn; without cryptography, so that anyone may ask."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, overload

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.certificate_names import certificate_names
from edge_runtime.contract.errors import (
    JsonMalformed,
    KeyInvalid,
    ReleaseRevoked,
    SignerRevoked,
    SignerUntrusted,
)

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import Trusted

EVERY_NAME = ("*",)
MAX_PATTERNS = 16
PEM_KEY = "PUBLIC KEY"
PEM_CERTIFICATE = "CERTIFICATE"

# The letters of model names, and what stands for any of them.
_PATTERN = re.compile(r"[a-z0-9._*?-]{1,64}")
_PEM = re.compile(
    r"-----BEGIN (?P<kind>PUBLIC KEY|CERTIFICATE)-----\n"
    r"(?P<body>[A-Za-z0-9+/=\n]+)"
    r"-----END (?P=kind)-----\n"
)


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return patterns of model names, sorted, each once.

    Raises:
        KeyInvalid: when there are none or too many, or one is no pattern.
    """
    found = tuple(sorted(set(patterns)))
    wrong = [pattern for pattern in found if not _PATTERN.fullmatch(pattern)]
    if not 1 <= len(found) <= MAX_PATTERNS or wrong:
        shown = repr(wrong[0][:80]) if wrong else f"{len(found)} of them"
        raise KeyInvalid(
            f"a key is for 1 to {MAX_PATTERNS} patterns of model names, of the letters "
            f"a-z 0-9 . _ - and * and ?; found {shown}",
            hint="Give names as they stand in bundles, for example --for 'vision-*'.",
            expected=_PATTERN.pattern,
            found=wrong[0][:80] if wrong else len(found),
        )
    return found


def matches(patterns: Iterable[str], name: str) -> bool:
    """Tell whether a model's name is one that these patterns stand for."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def pem_fingerprint(pem: str) -> str | None:
    """Return the name of a public key or certificate; None where the text is neither.

    A key's is the sha256 of its PEM text, the hint of the signing standard; a certificate's is
    the sha256 of its DER bytes, which every tool prints.
    """
    found = _PEM.fullmatch(pem)
    if found is None:
        return None
    if found["kind"] == PEM_KEY:
        return hashlib.sha256(pem.encode()).hexdigest()
    try:
        der = base64.b64decode(found["body"].replace("\n", ""), validate=True)
    except ValueError:
        return None
    return hashlib.sha256(der).hexdigest()


def claimed_signers(data: bytes) -> tuple[str, ...]:
    """Return the keys and certificates that a ``model.sig`` names, none of them believed."""
    try:
        material = strictjson.loads(data, what="model.sig")["verificationMaterial"]
        if "publicKey" in material:
            return (str(material["publicKey"]["hint"]),)
        raw = [item["rawBytes"] for item in material["x509CertificateChain"]["certificates"]]
        named = [certificate_names(base64.b64decode(item)) for item in raw]
        return tuple(name for names in named for name in names)
    except (JsonMalformed, LookupError, TypeError, ValueError):
        return ()


@dataclass(frozen=True)
class Revocations:
    """What was withdrawn.

    Attributes:
        serial: of the ``trust.json`` that says so; 0 where there is none.
        keys: fingerprints of keys and certificates.
        releases: releases by model name and number.
        digests: releases by the digest of a manifest.
    """

    serial: int = 0
    keys: frozenset[str] = frozenset()
    releases: frozenset[tuple[str, int]] = frozenset()
    digests: frozenset[str] = frozenset()

    def signer(self, fingerprints: Iterable[str]) -> str | None:
        """Return the first of these keys and certificates that was withdrawn."""
        return next((item for item in fingerprints if item in self.keys), None)

    def release(self, name: str, release: int, digest: str) -> bool:
        """Tell whether this release was withdrawn, by its number or by its digest."""
        return (name, release) in self.releases or digest in self.digests

    def refuse_signer(self, fingerprints: Sequence[str]) -> None:
        """Refuse a signer that was withdrawn, itself or what stands above it.

        Raises:
            SignerRevoked: when it was.
        """
        found = self.signer(fingerprints)
        if found is not None:
            raise SignerRevoked(
                f"a signer must not be withdrawn, {found[:16]}… was by trust.json, "
                f"serial {self.serial}",
                hint="Carry a bundle that a key in force signed: packager sign BUNDLE --key …",
                serial=self.serial,
                expected="a key in force",
                found=found,
            )

    def refuse_release(self, name: str, release: int, digest: str) -> None:
        """Refuse a release that was withdrawn.

        Raises:
            ReleaseRevoked: when it was.
        """
        if self.release(name, release, digest):
            raise ReleaseRevoked(
                f"a release must not be withdrawn, release {release} of {name} "
                f"({digest[:16]}…) was by trust.json, serial {self.serial}",
                hint="Carry another release of this model.",
                serial=self.serial,
                expected="a release in force",
                found=f"{name}@{release}",
                digest=digest,
            )


@dataclass(frozen=True)
class Signer:
    """Who signed, once the signature held.

    Attributes:
        fingerprint: of the key, or of the certificate that it belongs to.
        patterns: the model names that it may sign for.
    """

    fingerprint: str
    patterns: tuple[str, ...] = EVERY_NAME

    def require_name(self, name: str) -> None:
        """Refuse a model that this signer may not sign for.

        Raises:
            SignerUntrusted: when none of its patterns stands for the name.
        """
        if not matches(self.patterns, name):
            raise SignerUntrusted(
                f"{name} is signed by {self.fingerprint[:16]}…, "
                f"which is trusted for {', '.join(self.patterns)} alone",
                hint="Compare the fingerprint with its owner's; to trust it for more: "
                "edge-runtime trust add KEY --for NAME",
                found=name,
                expected=list(self.patterns),
                signer=self.fingerprint,
            )


@dataclass(frozen=True)
class Keyring(Sequence["Trusted"]):
    """Keys and authorities that are believed, with what was withdrawn.

    Attributes:
        trusted: each once; patterns of one that was named twice are joined.
        revocations: what is not believed all the same.
    """

    trusted: tuple[Trusted, ...]
    revocations: Revocations = field(default_factory=Revocations)

    @classmethod
    def of(cls, keys: Sequence[Trusted]) -> Keyring:
        """Return keys as a keyring, in which nothing is withdrawn unless it is one."""
        return keys if isinstance(keys, Keyring) else cls(tuple(keys))

    @overload
    def __getitem__(self, index: int) -> Trusted: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Trusted]: ...

    def __getitem__(self, index: int | slice) -> Trusted | Sequence[Trusted]:
        return self.trusted[index]

    def __len__(self) -> int:
        return len(self.trusted)

    def __iter__(self) -> Iterator[Trusted]:
        return iter(self.trusted)

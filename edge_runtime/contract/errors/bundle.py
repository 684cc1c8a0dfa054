"""Errors of bundles, keys and what they say: it cannot be believed or read."""

from __future__ import annotations

from edge_runtime.contract.errors.base import BundleError


class BundleUnreadable(BundleError):
    """The path is no bundle at all, or cannot be opened."""

    code = "bundle-unreadable"


class ArchiveCorrupt(BundleError):
    """The tar or directory breaks the strict profile of an OCI image layout."""

    code = "archive-corrupt"


class JsonMalformed(BundleError):
    """A JSON document is not strict, too deep or too large."""

    code = "json-malformed"


class ManifestInvalid(BundleError):
    """A signed manifest does not say what the format requires."""

    code = "manifest-invalid"


class GraphRefused(BundleError):
    """A graph asks for more than was signed or engines compute with, or is not whole."""

    code = "graph-refused"


class BlobMissing(BundleError):
    """A blob that the bundle refers to is not in it."""

    code = "blob-missing"


class DigestMismatch(BundleError):
    """Bytes do not have the digest or size that was signed."""

    code = "digest-mismatch"


class FilesMismatch(BundleError):
    """The files present are not exactly the files signed."""

    code = "files-mismatch"


class SignatureMissing(BundleError):
    """A target carries no signature."""

    code = "signature-missing"


class SignatureInvalid(BundleError):
    """A signature is malformed or does not verify."""

    code = "signature-invalid"


class SignerUntrusted(BundleError):
    """The signature may be sound, but its key is not trusted here."""

    code = "signer-untrusted"


class NoTrustedKey(BundleError):
    """No key is trusted, so nothing can be."""

    code = "no-trusted-key"


class RuntimeTooOld(BundleError):
    """The bundle needs a newer edge runtime."""

    code = "runtime-too-old"


class MustUnderstand(BundleError):
    """The bundle depends on a feature that this runtime does not know."""

    code = "must-understand"


class MixedBundle(BundleError):
    """The targets of one bundle do not agree on name, version or release."""

    code = "mixed-bundle"


class VersionConflict(BundleError):
    """The same version is installed with other content."""

    code = "version-conflict"


class ReleaseTooOld(BundleError):
    """The bundle's release lies below the floor that the store keeps for the model."""

    code = "release-too-old"


class KeyInvalid(BundleError):
    """A file is no public key of a kind that bundles are signed with."""

    code = "key-invalid"


class TrustInvalid(BundleError):
    """A ``trust.json`` is not of its form, or not signed by the root key believed here."""

    code = "trust-invalid"


class TrustTooOld(BundleError):
    """A ``trust.json`` has a lower serial than the one that is in force."""

    code = "trust-too-old"


class SignerRevoked(BundleError):
    """The key that signed was withdrawn."""

    code = "signer-revoked"


class ReleaseRevoked(BundleError):
    """This very release was withdrawn."""

    code = "release-revoked"


class InterfaceChanged(BundleError):
    """Inputs or outputs are not those of the version that serves."""

    code = "interface-changed"


class NoBundleFound(BundleError):
    """A directory holds no bundle that could be installed."""

    code = "no-bundle-found"

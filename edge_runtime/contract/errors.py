"""Typed errors that host and device share: class, code, exit code, both values, one hint.

Only leaves are raised. A leaf has a kebab-case ``code`` that scripts may depend on and that
``docs/errors.md`` explains; its family gives the exit code (see ``EXIT_CODES``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

EXIT_CODES = {
    "done": 0,
    "bug": 1,
    "usage": 2,
    "input": 3,
    "bundle": 4,
    "device": 5,
    "host": 6,
    "busy": 7,
    "health": 8,
}


class EdgepackError(Exception):
    """Base of every error that a user may see.

    Args:
        message: one sentence that names both values, what was expected and what was found.
        hint: one imperative sentence that mends it.
        values: the same facts for machines; anything JSON can hold.
    """

    code: ClassVar[str] = ""
    exit_code: ClassVar[int] = EXIT_CODES["bug"]

    def __init__(self, message: str, *, hint: str, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.values = values

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "values": self.values,
            }
        }

    def render(self) -> str:
        """Return the two lines that a person reads."""
        return f"error[{self.code}]: {self.message}\nhint: {self.hint}"


def leaves(base: type[EdgepackError] = EdgepackError) -> Iterator[type[EdgepackError]]:
    """Yield every error class below ``base`` that can be raised, depth first."""
    for child in base.__subclasses__():
        if child.code:
            yield child
        yield from leaves(child)


class UsageError(EdgepackError):
    """The command line cannot be understood."""

    code = "usage"
    exit_code = EXIT_CODES["usage"]


class Bug(EdgepackError):
    """A defect of the program itself: what it prints instead of a traceback."""

    code = "bug"


# --- families: the exit code says who has to act -------------------------------------------


class InputError(EdgepackError):
    """Something that the caller handed over: rows, arrays, files."""

    exit_code = EXIT_CODES["input"]


class BundleError(EdgepackError):
    """The bundle cannot be believed or read."""

    exit_code = EXIT_CODES["bundle"]


class DeviceError(EdgepackError):
    """This machine, its store or its engine."""

    exit_code = EXIT_CODES["device"]


class BusyError(EdgepackError):
    """Somebody else is at work; trying again later may succeed."""

    exit_code = EXIT_CODES["busy"]


# --- input ---------------------------------------------------------------------------------


class InputUnreadable(InputError):
    """A file or stream of rows cannot be opened or decoded."""

    code = "input-unreadable"


class TableMalformed(InputError):
    """A CSV, JSON-lines or NPZ table is not of its form."""

    code = "table-malformed"


class InputName(InputError):
    """A column or tensor is missing or unknown."""

    code = "input-name"


class InputDtype(InputError):
    """An array's element type is not the declared one."""

    code = "input-dtype"


class InputShape(InputError):
    """An array's shape is not the declared one."""

    code = "input-shape"


class InputValue(InputError):
    """A cell cannot be read as its column's kind."""

    code = "input-value"


class InputMissing(InputError):
    """A missing value stands where the manifest forbids it."""

    code = "input-missing"


class OutputUnwritable(InputError):
    """A named output path cannot be written."""

    code = "output-unwritable"


# --- bundle --------------------------------------------------------------------------------


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
    """A graph asks for a file that is not its own, or cannot be read to its end."""

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


# --- device --------------------------------------------------------------------------------


class NoMatchingTarget(DeviceError):
    """No target of the bundle fits this device."""

    code = "no-matching-target"


class EngineMissing(DeviceError):
    """ONNX Runtime is not installed or cannot be imported."""

    code = "engine-missing"


class EngineConflict(DeviceError):
    """Two distributions of ONNX Runtime overwrite each other."""

    code = "engine-conflict"


class EngineTooOld(DeviceError):
    """ONNX Runtime is older than every fitting target needs."""

    code = "engine-too-old"


class ExecutionProviderMissing(DeviceError):
    """The session does not run on the execution provider that the manifest names."""

    code = "execution-provider-missing"


class ModelLoadFailed(DeviceError):
    """The engine refused the model."""

    code = "model-load-failed"


class PredictionFailed(DeviceError):
    """The engine failed while running the model."""

    code = "prediction-failed"


class GoldenMismatch(DeviceError):
    """A variant does not give its golden answers on this chip."""

    code = "golden-mismatch"


class TrialFailed(DeviceError):
    """The trial child ended without a verdict: a signal, a timeout, no memory."""

    code = "trial-failed"


class NotInstalled(DeviceError):
    """No such model, version or variant is installed."""

    code = "not-installed"


class RefAmbiguous(DeviceError):
    """Several models are installed and none was named."""

    code = "ref-ambiguous"


class StoreUnwritable(DeviceError):
    """The store cannot be written."""

    code = "store-unwritable"


class StoreUnreadable(DeviceError):
    """The store cannot be found or read by this user."""

    code = "store-unreadable"


class StoreNewer(DeviceError):
    """The store was written by a newer edge runtime."""

    code = "store-newer"


class StoreCorrupt(DeviceError):
    """Installed files or state records are not what was installed."""

    code = "store-corrupt"


class NoSpace(DeviceError):
    """The disk is full or would be."""

    code = "no-space"


class StoreBusy(BusyError):
    """Another process is writing to the store."""

    code = "store-busy"

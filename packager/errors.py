"""Typed errors of the host: what was handed over (exit 3), what this machine met (exit 6)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from edge_runtime.contract.errors import EXIT_CODES, EdgepackError, InputError


def nearest(name: str, names: Iterable[str]) -> str:
    """Return what a message adds after an unknown name: the known one that is most like it."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class HostError(EdgepackError):
    """This workstation, its libraries, or what a stage of the build found."""

    exit_code = EXIT_CODES["host"]


# --- input: the source model ---------------------------------------------------------------


class PickleRefused(InputError):
    """A pickle runs code when it is opened, and nobody vouched for this one."""

    code = "pickle-refused"


class SourceUnreadable(InputError):
    """The source model's file is missing, truncated or damaged."""

    code = "source-unreadable"


class SourceUnsupported(InputError):
    """The file holds something that is no model of a known framework."""

    code = "source-unsupported"


class SourceUntrustedType(InputError):
    """A file names a type outside the allow-list, or holds what would run code."""

    code = "source-untrusted-type"


class ConversionFailed(InputError):
    """The source model has no faithful form in ONNX."""

    code = "conversion-failed"


# --- input: targets, configuration, rows, keys ---------------------------------------------


class UnknownTarget(InputError):
    """No target profile has that name."""

    code = "unknown-target"


class TargetInvalid(InputError):
    """A target profile's file does not say what it must."""

    code = "target-invalid"


class ConfigUnknownKey(InputError):
    """The configuration file has a key that no flag has."""

    code = "config-unknown-key"


class ConfigInvalid(InputError):
    """A key of the configuration file has a value that cannot be."""

    code = "config-invalid"


class LabelMissing(InputError):
    """The label column is not in the rows, or its classes are not the model's."""

    code = "label-missing"


class ColumnMissing(InputError):
    """The rows lack a column that the model or a flag needs."""

    code = "column-missing"


class DataUnusable(InputError):
    """The rows cannot serve: too few, of no usable type, or in no known format."""

    code = "data-unusable"


class KeyExists(InputError):
    """A key stands where a new one was to be written."""

    code = "key-exists"


class KeyUnreadable(InputError):
    """A file is no private key that can sign."""

    code = "key-unreadable"


class PassphraseWrong(InputError):
    """The passphrase does not open the key, or none was given."""

    code = "passphrase-wrong"


# --- host ----------------------------------------------------------------------------------


class SourceVersionSkew(HostError):
    """The source model was saved by another version of its framework than the one installed."""

    code = "source-version-skew"


class HelperEnvFailed(HostError):
    """No environment with the libraries that a source model needs could be made."""

    code = "helper-env-failed"


class SourceFailed(HostError):
    """The child that opens the source model died or took too long."""

    code = "source-failed"


class ParityFailed(HostError):
    """The converted graph does not answer as the source model does."""

    code = "parity-failed"


class BudgetExceeded(HostError):
    """What was built is larger than allowed, or no variant keeps the budgets."""

    code = "budget-exceeded"


class NoGoldenRows(HostError):
    """No row could be made that the model takes and that is nobody's."""

    code = "no-golden-rows"


class ReplayMismatch(HostError):
    """A value measured now stands outside the tolerance of the recorded one."""

    code = "replay-mismatch"


class SignerFailed(HostError):
    """The outside signing command failed or returned no valid signature."""

    code = "signer-failed"


class DeviceFailed(HostError):
    """The device's program, which the demonstration runs, ended with an error of its own."""

    code = "device-failed"


class EmulatorsFailed(HostError):
    """The emulators, or the ARM Python that runs on them, could not be made."""

    code = "emulators-failed"


class HostExtraMissing(HostError):
    """A library that this step needs is not installed."""

    code = "host-extra-missing"

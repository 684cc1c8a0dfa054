"""Errors of this machine: its engine, its store, and what runs on it."""

from __future__ import annotations

from edge_runtime.contract.errors.base import BusyError, DeviceError, HealthError


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


class DeadlineExceeded(DeviceError):
    """A prediction did not end within the time that the caller gave it."""

    code = "deadline-exceeded"


class WorkerFailed(DeviceError):
    """The process that serves an isolated model ended or could not be started."""

    code = "worker-failed"


class NothingProven(DeviceError):
    """There is no proven version to go back to."""

    code = "nothing-proven"


class VersionServes(DeviceError):
    """A version that serves, or that serving would go back to, cannot be removed."""

    code = "version-serves"


class SettingInvalid(DeviceError):
    """A device-local setting is unknown or has a value that cannot hold."""

    code = "setting-invalid"


class ProgramNotStarted(DeviceError):
    """The program to be executed cannot be started."""

    code = "program-not-started"


class HealthAlarm(HealthError):
    """A model serves otherwise than it should, or does not."""

    code = "health-alarm"

"""Executing: verify a version wholly, prove it, count the load, and become another program.

The door for programs in any language: they find the proven file, and how to open it, in their
environment. The load stays entered for as long as the program runs, so its version stays too.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import ProgramNotStarted
from edge_runtime.engine.session import config_entries
from edge_runtime.entering import Entry, enter
from edge_runtime.keys import check_signer
from edge_runtime.loading import Chosen, How, chosen_variant
from edge_runtime.probe import probe
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store

# Python ignores these; a program must not inherit that.
_IGNORED = ("SIGPIPE", "SIGXFSZ")


def execute(
    store: Store,
    ref: str,
    program: Sequence[str],
    warn: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> NoReturn:
    """Verify and prove what serves, enter the load, and become ``program``.

    Args:
        store: where the model is installed.
        ref: ``NAME`` for what is active, or ``NAME@VERSION``.
        program: its file, looked for in ``$PATH``, and its arguments.
        warn: told what is wrong although the program is started.
        environ: the environment that the program inherits besides ``EDGE_MODEL_*``.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, does not fit, or does not answer as proven.
        ProgramNotStarted: when there is no such program, or the kernel refuses it.
    """
    found = shutil.which(program[0], path=environ.get("PATH", os.defpath))
    if found is None:
        raise _not_started(program[0], "there is no such executable file")

    def become(entry: Entry) -> NoReturn:
        entry.package.check()
        chosen = chosen_variant(store, entry.package, How(), probe())
        for problem in filter(None, (entry.degraded, chosen.problem)):
            warn(f"warning: degraded: {problem}")
        if entry.load is not None:
            entry.load.keep_over_exec()
        _become(found, program, {**environ, **variables(entry, chosen)})

    enter(store, ref, become)


def verified(store: Store, ref: str | None) -> tuple[ModelStore, VerifiedPackage]:
    """Return what a load would take, once its signer and every byte of it are verified.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, or not as it was installed.
    """
    model, digests = store.resolve(ref)
    package = open_installed(model.version(digests[0]), digests[0])
    check_signer(store, model, package.digest, None)
    package.check()
    return model, package


def variables(entry: Entry, chosen: Chosen) -> dict[str, str]:
    """Return what a program finds in its environment of a version that was proven."""
    manifest, plan = entry.package.manifest, chosen.plan
    directory = entry.model.version(entry.package.digest).resolve()
    options = {
        "intra_op_num_threads": plan.threads,
        "inter_op_num_threads": 1,
        "config_entries": config_entries(plan),
        "provider_options": dict(plan.provider_options),
    }
    return {
        "EDGE_MODEL_NAME": manifest.name,
        "EDGE_MODEL_VERSION": manifest.version,
        "EDGE_MODEL_DIR": str(directory),
        "EDGE_MODEL_FILE": str(directory / chosen.variant.model_file),
        "EDGE_MODEL_PROVIDER": plan.provider,
        "EDGE_MODEL_SESSION_OPTIONS": strictjson.dumps(options).decode(),
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _become(path: str, program: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    before = {name: signal.signal(name, signal.SIG_DFL) for name in _ignored()}
    try:
        os.execve(path, list(program), dict(environ))  # noqa: S606 - what was asked for
    except (OSError, ValueError) as error:
        for name, handler in before.items():
            signal.signal(name, handler)
        reason = error.strerror if isinstance(error, OSError) else None
        raise _not_started(path, reason or str(error)) from None


def _ignored() -> list[signal.Signals]:
    return [signal.Signals[name] for name in _IGNORED if name in signal.Signals.__members__]


def _not_started(program: str, reason: str) -> ProgramNotStarted:
    return ProgramNotStarted(
        f"{program} must be a program that can be executed; {reason}",
        hint="Name an executable file by its path, or one that stands in $PATH.",
        program=program,
        reason=reason,
    )

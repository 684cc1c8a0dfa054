"""What a trial proved, kept here for one package under one engine, processor and driver."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.manifest import Variant
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.engine.trial import run_trial
from edge_runtime.engine.verdict import (
    Choice,
    Verdict,
    choose,
    require_choice,
    verdict_from_json,
)
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store, StoreWriter

FILE = "trial.json"
SCHEMA = "edgepack.trial/2"


def remembered(model: ModelStore, digest: str, facts: DeviceFacts) -> tuple[Verdict, ...]:
    """Return a package's verdicts under exactly this engine, CPU and driver, best first.

    None are returned where nothing sound is known, or no variant passed; then the trial has to
    be repeated.
    """
    data = model.read_local(digest, facts.identity, FILE)
    if data is None:
        return ()
    try:
        fields = strictjson.Fields(strictjson.loads(data, what=FILE), FILE, JsonMalformed)
        if fields.text("schema") != SCHEMA:
            return ()
        verdicts = tuple(verdict_from_json(item) for item in fields.list("verdicts"))
    except JsonMalformed:
        return ()
    return verdicts if choose(verdicts) else ()


def proven(
    store: Store,
    package: VerifiedPackage,
    variants: Sequence[Variant],
    facts: DeviceFacts,
    *,
    keep: bool,
) -> tuple[str, str]:
    """Return the variant that passed its trial on this engine and CPU, and how that is known.

    Where nothing is known the trial is repeated, before anything is loaded in this process. A
    variant that is known to have failed is not tried again.

    Args:
        store: where the package is installed.
        package: the package.
        variants: those that may serve, best first.
        facts: this device.
        keep: also keep what a repeated trial finds, where this user may.

    Raises:
        GoldenMismatch: when none passes and the first gave wrong answers.
        TrialFailed: when none passes for another reason.
    """
    model, digest = store.model(package.manifest.name), package.digest
    names = [variant.name for variant in variants]
    known = {verdict.variant: verdict for verdict in remembered(model, digest, facts)}
    if known.keys() >= set(names):
        choice = require_choice([known[name] for name in names])
        return choice.variant, _proof(f"its trial on {facts.identity}", choice)
    verdicts = run_trial(model.version(digest), digest, names, threads=facts.threads)
    choice = require_choice(verdicts)
    proof = _proof(f"a trial at this load, on {facts.identity}", choice)
    if keep:
        problem = store.keep(lambda w: remember(w, model.name, digest, facts, verdicts))
        proof += f"; to be repeated, because it was not kept: {problem}" if problem else ""
    return choice.variant, proof


def _proof(where: str, choice: Choice) -> str:
    return "; ".join(filter(None, [f"golden vectors held in {where}", choice.reason]))


def remember(
    writer: StoreWriter, name: str, digest: str, facts: DeviceFacts, verdicts: Sequence[Verdict]
) -> None:
    """Keep a package's verdicts.

    Raises:
        StoreUnwritable: when they cannot be written.
        NoSpace: when the disk is full.
    """
    kept = {"schema": SCHEMA, "verdicts": [verdict.to_json() for verdict in verdicts]}
    writer.write_local(name, digest, facts.identity, FILE, strictjson.dumps(kept))

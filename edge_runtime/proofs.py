"""What a trial proved, kept on this device for one package under one engine and processor."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.engine.trial import Verdict
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import StoreWriter

FILE = "trial.json"
SCHEMA = "edgepack.trial/1"


def remembered(model: ModelStore, digest: str, facts: DeviceFacts) -> tuple[Verdict, ...]:
    """Return a package's verdicts under exactly this engine and CPU, the one that serves last.

    None are returned where nothing sound is known; then the trial has to be repeated.
    """
    data = model.read_local(digest, facts.identity, FILE)
    if data is None:
        return ()
    try:
        kept = strictjson.loads(data, what=FILE)["verdicts"]
        verdicts = tuple(Verdict(**item) for item in kept)
    except (JsonMalformed, TypeError, KeyError):
        return ()
    return verdicts if verdicts and verdicts[-1].passed else ()


def remember(
    writer: StoreWriter, name: str, digest: str, facts: DeviceFacts, verdicts: Sequence[Verdict]
) -> None:
    """Keep a package's verdicts.

    Raises:
        StoreUnwritable: when they cannot be written.
    """
    kept = {"schema": SCHEMA, "verdicts": [verdict.to_json() for verdict in verdicts]}
    writer.write_local(name, digest, facts.identity, FILE, strictjson.dumps(kept))

"""What the doctor found out about a model before any build: facts, JSON and a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from edge_runtime.contract.errors import EdgepackError
from packager.console import wrapped
from packager.report.facts import ParityFacts, in_json
from packager.report.terminal import parity_text, table


@dataclass(frozen=True)
class Version:
    """A library: the version that a file was written with, and the one installed here."""

    library: str
    inside: str
    here: str


@dataclass(frozen=True)
class Reach:
    """A target, and why the model cannot run there; no reason where it can."""

    target: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a model.

    Attributes:
        model: its name as it was given.
        what: its kind, task and size in words; empty where it did not open.
        versions: what the file says of libraries.
        steps: what becomes of each step: path, class, form, verdict and why.
        repairs: what was mended so that the graph answers as the model does.
        parity: how the graph compared with the model; None where it was not.
        reach: the targets.
        unchecked: what nobody could look at, as sentences.
        refusal: why a build would refuse it; None where it would build.
    """

    model: str
    what: str = ""
    versions: Sequence[Version] = ()
    steps: Sequence[Mapping[str, str]] = ()
    repairs: Sequence[str] = ()
    parity: ParityFacts | None = None
    reach: Sequence[Reach] = ()
    unchecked: Sequence[str] = ()
    refusal: EdgepackError | None = None


def diagnosis_json(found: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis for machines."""
    refusal = found.refusal.as_json()["error"] if found.refusal else None
    told = {
        "versions": [asdict(version) for version in found.versions],
        "steps": [dict(step) for step in found.steps],
        "repairs": list(found.repairs),
        "targets": [asdict(reach) for reach in found.reach],
        "unchecked": list(found.unchecked),
    }
    parity = in_json(asdict(found.parity)) if found.parity else None
    head = {"model": found.model, "what": found.what, "parity": parity}
    return {**head, **told, "builds": found.refusal is None, "refusal": refusal}


def diagnosis_text(found: Diagnosis, *, verdict: bool = True) -> str:
    """Return a diagnosis for people, what to do last.

    Args:
        found: the diagnosis.
        verdict: whether to end with it; not where an error says the same next.
    """
    blocks = [
        "\n".join([found.model, *wrapped(found.what, "  ")]) if found.what else found.model,
        _block("libraries", _versions(found.versions)),
        steps_text(found.steps),
        _block("mended in the graph", _sentences(_untold(found))),
        parity_text(found.parity) if found.parity else "",
        _block("targets", _reach(found.reach)),
        _block("not checked", _sentences(found.unchecked)),
        _verdict(found.refusal) if verdict else "",
    ]
    return "\n\n".join(block for block in blocks if block)


def _untold(found: Diagnosis) -> list[str]:
    """Return the repairs that no step tells of."""
    told = "\n".join(step["why"] for step in found.steps)
    return [repair for repair in found.repairs if repair not in told]


def steps_text(steps: Sequence[Mapping[str, str]]) -> str:
    """Return what becomes of each step as a table, with the reasons below it."""
    if not steps:
        return ""
    rows = [
        (step["verdict"], step["path"] or "the whole", step["class"], step["form"])
        for step in steps
    ]
    told = [step for step in steps if step["why"]]
    reasons = [f"{step['path'] or 'the whole'}: {step['why']}" for step in told]
    return "\n".join(["steps", table(rows), *_sentences(reasons)])


def kinds_text(kinds: Sequence[Mapping[str, str]]) -> str:
    """Return which kinds of models open here, and what to install for the others."""
    rows = [(one["library"], one["version"], one["files"]) for one in kinds]
    rows.append(("tensorflow", "in an environment of its own", "SavedModel, .h5 of Keras 2"))
    missing = [one["extra"] for one in kinds if one["version"] == "not installed"]
    text = table(rows, ("", "here", "files"))
    if not missing:
        return text
    return f"{text}\n\nfor the others: pip install 'edgepack[host,{','.join(missing)}]'"


def _block(title: str, body: str | Sequence[str]) -> str:
    lines = [body] if isinstance(body, str) else list(body)
    return "\n".join([title, *lines]) if any(lines) else ""


def _versions(versions: Sequence[Version]) -> str:
    rows = [astuple(version) for version in versions]
    return table(rows, ("", "in the file", "here")) if rows else ""


def _reach(reach: Sequence[Reach]) -> str:
    rows = [("no" if one.reason else "yes", one.target, one.reason) for one in reach]
    return table(rows) if rows else ""


def _sentences(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in wrapped(text, "  ")]


def _verdict(refusal: EdgepackError | None) -> str:
    if refusal is None:
        return "packager build takes it"
    lines = [*wrapped(refusal.message, "  ")]
    lines += [f"  hint: {line.strip()}" for line in wrapped(refusal.hint, "        ")[:1]]
    lines += wrapped(refusal.hint, "        ")[1:]
    return "\n".join([f"packager build refuses it [{refusal.code}]", *lines])

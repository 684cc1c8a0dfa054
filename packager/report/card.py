"""The model card: one page of Markdown inside each target, for whoever finds the bundle."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.contract.bundle.manifest import Interface
from packager.report.facts import BuildFacts, ParityFacts, TargetFacts
from packager.report.words import (
    HOST,
    drop_figure,
    drop_words,
    interval,
    is_relative,
    judged_on,
    quality_figure,
    run_commands,
)
from packager.variant import Score

FILE_NAME = "README.md"
_MAX_COLUMNS = 40
_BUILDER = "the machine that built it"


def render_card(facts: BuildFacts, target: TargetFacts) -> bytes:
    """Return the card of one target."""
    identity = facts.identity
    sections = [
        f"# {identity.name} {identity.version}",
        identity.description or f"A {facts.interface.task} model.",
        _about(facts, target),
        "## What goes in",
        _inputs(facts.interface),
        "## What comes out",
        _outputs(facts.interface),
        "## Variants, best first",
        _variants(target),
        "## Quality",
        _quality(facts, target),
        "## How it was checked",
        _bullets(_checks(facts, target)),
        "## How to run it",
        _usage(identity.name, identity.version),
    ]
    return "\n\n".join(sections).encode() + b"\n"


def _about(facts: BuildFacts, target: TargetFacts) -> str:
    source = facts.source
    return _table(
        ("", ""),
        [
            ("release", str(facts.identity.release)),
            ("target", f"{target.profile.name}: {target.profile.description}"),
            ("source", f"{source.framework}, {source.kind}"),
            ("source sha256", f"`{source.sha256}`"),
            ("licence", facts.identity.license or "not stated"),
        ],
    )


def _inputs(interface: Interface) -> str:
    tensors = _bullets([f"`{spec.name}`: {spec.text()}" for spec in interface.inputs])
    if not interface.columns:
        return tensors
    shown = interface.columns[:_MAX_COLUMNS]
    rows = [
        (f"`{column.name}`", column.kind, column.missing, f"`{column.input}`")
        for column in shown
    ]
    more = len(interface.columns) - len(shown)
    rest = f"\n\n… and {more} more columns, all in `manifest.json`." if more else ""
    return _table(("column", "kind", "missing values", "graph input"), rows) + rest


def _outputs(interface: Interface) -> str:
    roles = {output: role for role, output in interface.roles.items()}
    lines = [
        f"`{spec.name}`: {spec.text()}"
        + (f", the {roles[spec.name]}" if spec.name in roles else "")
        for spec in interface.outputs
    ]
    if interface.labels:
        lines.append(f"classes, in this order: {', '.join(map(str, interface.labels))}")
    return _bullets(lines)


def _variants(target: TargetFacts) -> str:
    measured = {item.name: item for item in target.measured}
    rows = [
        (variant.name, variant.provider, f"{measured[variant.name].size:,}")
        for variant in target.ladder
    ]
    return _table(("variant", "execution provider", "bytes"), rows)


def _quality(facts: BuildFacts, target: TargetFacts) -> str:
    """Return each variant's quality on each CPU; of time and memory a card says nothing."""
    measured = {item.name: item for item in target.measured}
    shipped = [measured[variant.name] for variant in target.ladder]
    cpus = judged_on(shipped)
    if not cpus:
        return "Quality was not measured: there were no rows to measure it on."
    rows = []
    for item in shipped:
        found = {score.cpu: _score(facts, score) for score in item.scores}
        rows.append((item.name, *(found.get(cpu, "not run") for cpu in cpus)))
    names = [_BUILDER if cpu == HOST else cpu for cpu in cpus]
    return (
        f"{facts.metric_name} on {facts.data.held_out if facts.data else 0} held-out rows; in "
        "brackets the drop against float32 and its 95 % interval, less than zero where it is "
        f"better.\n\n{_table(('variant', *names), rows)}"
    )


def _score(facts: BuildFacts, score: Score) -> str:
    relative = is_relative(facts)
    words = drop_words(score, relative=relative)
    if score.problem or score.low == score.high:
        return f"{quality_figure(facts, score)} ({words})"
    drop, ends = drop_figure(score.drop, relative=relative), interval(score, relative=relative)
    noise = ", within noise" if score.within_noise else ""
    return f"{quality_figure(facts, score)} ({drop}, {ends}{noise})"


def _checks(facts: BuildFacts, target: TargetFacts) -> list[str]:
    lines = _parity(facts.parity) if facts.parity is not None else []
    lines += [f"Repaired in the graph: {repair}." for repair in facts.repairs]
    drawn = "drawn column by column" if target.golden_synthetic else "real rows"
    lines.append(f"{target.golden_rows} golden vectors ({drawn}) are repeated on every device.")
    return [*lines, *facts.unchecked, *target.notes]


def _parity(parity: ParityFacts) -> list[str]:
    """Tell what was compared; of the user's own rows no value, only how far answers differ."""
    worst = max(parity.largest.values(), default=0.0)
    lines = [
        f"The graph answers as the source model on {parity.rows} held-out rows; "
        f"the largest difference is {worst:.2g}."
    ]
    made = [f"{one.rows:,} of {one.kind}" for one in parity.kinds[1:] if one.rows]
    if made:
        lines.append(f"It does so on rows made to part the two: {', '.join(made)}.")
    return [*lines, *(f"{one.kind}, {text}." for one in parity.kinds for text in one.asides())]


def _usage(name: str, version: str) -> str:
    return "\n".join(["```", *run_commands(name, version), "```"])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

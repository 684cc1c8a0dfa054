"""The report as one page for people: no script, no network, good on paper and on a phone."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from edge_runtime.contract.tensors import Tolerance
from edge_runtime.contract.units import size
from packager import __version__
from packager.report.effects import effect_view
from packager.report.facts import BuildFacts, PackedFacts, TargetFacts
from packager.report.pictures import pictures
from packager.report.words import (
    STANDINGS,
    bare_reason,
    budget_words,
    cpu_words,
    drop_figure,
    drop_words,
    duration,
    interval,
    is_relative,
    judged_on,
    listed,
    made_how,
    quality_figure,
    run_commands,
    standing,
    time_shares,
    verdict,
)
from packager.variant import Measured, Score

MAX_COLUMNS = 40  # of the model, shown one by one
# Joiners that scripts need; what would turn the order of letters is written out.
_LET_PASS = frozenset("\u200c\u200d\n")
_RANKS = ("first", "second", "third")


def render_page(facts: BuildFacts, packed: PackedFacts) -> str:
    """Return the page.

    Whatever it quotes, names of columns and classes above all, is text and cannot act: it is
    escaped, and letters that draw nothing or turn the order of others are written out.
    """
    return _template().render(
        facts=facts,
        packed=packed,
        version=__version__,
        targets=[_target(facts, target, packed) for target in facts.targets],
        budgets=budget_words(facts),
        columns=facts.interface.columns[:MAX_COLUMNS],
        commands=run_commands(facts.identity.name, facts.identity.version),
        standings=STANDINGS,
        ranks=_RANKS,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("packager.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters |= {"size": size, "listed": listed, "percent": "{:.1%}".format}
    environment.filters |= {"figure": "{:.3g}".format, "bare_reason": bare_reason}
    return environment.get_template("page.html.j2")


def visible(value: object) -> object:
    """Return a text with every letter that could hide or turn others written out.

    Args:
        value: what a template is about to print; markup of our own stays as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(map(_shown, value))


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _LET_PASS or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


# --- one target ----------------------------------------------------------------------------


def _target(facts: BuildFacts, target: TargetFacts, packed: PackedFacts) -> dict[str, Any]:
    """Return what the template shows of a target, as texts."""
    base, contents = target.measured[0], packed.contents.get(target.profile.name, ())
    candidates = [_candidate(facts, target, item) for item in target.measured]
    return {
        "facts": target,
        "verdict": verdict(facts, target),
        "behind": [variant.name for variant in target.ladder[1:]],
        "pictures": pictures(facts, target),
        "batches": list(base.latency),
        "cpus": [cpu_words(cpu) for cpu in judged_on(target.measured)],
        "candidates": candidates,
        "standings": {one["standing"] for one in candidates},
        "has_memory": any(item.memory is not None for item in target.measured),
        "open": len(target.notes),
        "refused": [one for one in target.verdicts if not one.admitted],
        "effect": effect_view(target.effect) if target.effect else None,
        "outputs": _outputs(target),
        "tolerances": _tolerances(target),
        "contents": contents,
        "package": packed.packages.get(target.profile.name, ""),
        "total": sum(entry.size for entry in contents),
        "total_packed": sum(entry.blob.size for entry in contents),
    }


def _candidate(facts: BuildFacts, target: TargetFacts, item: Measured) -> dict[str, Any]:
    base, ladder = target.measured[0], [variant.name for variant in target.ladder]
    shares = time_shares(item, base)
    scores = {score.cpu: score for score in item.scores}
    return {
        "name": item.name,
        "how": made_how(item.name, reduce_range=target.profile.reduce_range),
        "rank": ladder.index(item.name) if item.name in ladder else None,
        "size": size(item.size),
        "packed": size(item.packed),
        "share": f"{item.size / base.size:.2f}",
        "times": [
            (f"{shares[batch]:.2f}", duration(item.latency[batch])) if batch in shares else None
            for batch in base.latency
        ],
        "memory": None if item.memory is None else size(item.memory),
        "standing": standing(item, facts.budgets.drop),
        "worst": _score(facts, item.worst) if item.worst else None,
        "scores": [
            _score(facts, scores[cpu], worst=_is_worst(scores[cpu], item))
            if cpu in scores
            else None
            for cpu in judged_on(target.measured)
        ],
        "agreement": None if item.agreement is None else f"{item.agreement:.4f}",
    }


def _is_worst(score: Score, item: Measured) -> bool:
    """Tell whether a candidate loses most here, where there is anything to choose from."""
    drops = {(one.drop, one.problem) for one in item.scores}
    return len(drops) > 1 and score is item.worst


def _score(facts: BuildFacts, score: Score, *, worst: bool = False) -> dict[str, Any]:
    relative = is_relative(facts)
    return {
        "cpu": cpu_words(score.cpu),
        "quality": quality_figure(facts, score),
        "drop": drop_figure(score.drop, relative=relative),
        "interval": interval(score, relative=relative),
        "words": drop_words(score, relative=relative),
        "problem": score.problem,
        "worst": worst,
    }


def _outputs(target: TargetFacts) -> list[str]:
    return list(dict.fromkeys(name for one in target.ladder for name in one.tolerances))


def _tolerances(target: TargetFacts) -> list[dict[str, Any]]:
    """Return how far a device's answers may be off, for each variant by output."""
    return [
        {
            "variant": variant.name,
            "texts": [_allowed(variant.tolerances.get(name)) for name in _outputs(target)],
        }
        for variant in target.ladder
    ]


def _allowed(tolerance: Tolerance | None) -> str:
    if tolerance is None:
        return ""
    terms = [f"{tolerance.atol:.2g}"] if tolerance.atol else []
    terms += [f"{tolerance.rtol:.2g} of it"] if tolerance.rtol else []
    return " + ".join(terms) or "equal"

"""A booster in the child, alone: from its library's own file, or pickled by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from packager.errors import DataUnusable
from packager.sources.boosters.converters import READERS, cause_of, ensemble_of
from packager.sources.boosters.trees import SLOWER, library_of
from packager.sources.opened import OpenedModel
from packager.sources.sklearn.columns import Plan, plan_columns
from packager.sources.sklearn.model import SklearnModel


def open_booster(form: str, path: Path) -> OpenedModel:
    """Open a library's own file.

    Args:
        form: ``xgboost``, ``lightgbm`` or ``catboost``.
        path: the file.

    Raises:
        HostExtraMissing: when the library is not installed.
        SourceUnreadable: when the file holds none of its models.
    """
    return BoosterModel(READERS[form].open_file(path))


class BoosterModel(SklearnModel):
    """A booster by itself; it reads one matrix of numbers.

    Args:
        model: a booster, or its fitted estimator.

    Raises:
        ConversionFailed: when it has several label columns.
    """

    def __init__(self, model: Any) -> None:
        self._library = library_of(model) or ""
        self._reader = READERS[self._library]
        super().__init__(self._reader.estimator_of(model))

    def describe(self) -> dict[str, Any]:
        """Return what the parent needs to know, as JSON can hold it."""
        told = super().describe()
        # Of the module: xgboost-cpu is a distribution of the module xgboost as well.
        version = {self._library: str(import_module(self._library).__version__)}
        return {
            **told,
            "framework": self._library,
            "versions": told["versions"] | version,
            "feature_names": list(self._reader.feature_names(self.estimator)),
        }

    def diagnose(self) -> list[dict[str, str]]:
        """Say what would become of it; it is one step."""
        why = cause_of(self.estimator) or ""
        form = "" if why else ensemble_of(self.estimator).operators
        kind = f"{type(self.estimator).__name__} ({self._reader.objective_of(self.estimator)})"
        verdict = "refused" if why else "converts"
        if not why and self._library in SLOWER:
            verdict, why = "slower", SLOWER[self._library]
        return [{"path": "", "class": kind, "form": form, "verdict": verdict, "why": why}]

    def _make_plan(self, kinds: Mapping[str, str] | None) -> Plan:
        """Plan one matrix by the learned names, or by the order of the columns."""
        names = _as_given(self._reader.feature_names(self.estimator), kinds)
        features = SimpleNamespace(n_features_in_=int(self.estimator.n_features_in_))
        if names:
            features.feature_names_in_ = names
        plan = plan_columns(features, kinds, double=self._double)
        for column in plan.columns:
            if column.kind != "float":
                raise DataUnusable(
                    f"column {column.name!r} is {column.kind} in the data, the model learned "
                    "it as float",
                    hint="Give this column in the form that the model was fitted on.",
                    column=column.name,
                    expected="float",
                    found=column.kind,
                )
        return replace(plan, layout="matrix")


def _as_given(names: tuple[str, ...], kinds: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the names as the data write them: LightGBM keeps spaces as underscores."""
    if kinds is None or set(names) <= set(kinds):
        return names
    written = {re.sub(r"\s", "_", name): name for name in kinds}
    return tuple(written.get(name, name) for name in names)

"""Which file becomes which model, in the child; a framework is imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from packager.sources.opened import OpenedModel


def _estimator(form: str, path: Path, options: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.boosters.trees import library_of
    from packager.sources.sklearn.file import load_estimator
    from packager.sources.sklearn.model import SklearnModel

    estimator = load_estimator(form, path, allow_skew=bool(options.get("allow_skew")))
    if step := options.get("from_step"):
        from packager.sources.sklearn.model import from_step

        estimator = from_step(estimator, step)
    if library_of(estimator):
        from packager.sources.boosters.model import BoosterModel

        return BoosterModel(estimator)
    return SklearnModel(estimator)


def _booster(form: str, path: Path, _: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.boosters.model import open_booster

    return open_booster(form, path)


def _exported(_: str, path: Path, __: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.tensors.torch_model import open_exported

    return open_exported(path)


def _factory(_: str, path: Path, options: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.tensors.torch_model import open_factory

    weights = options.get("weights")
    weights = Path(weights) if weights else None
    return open_factory(path, options["factory"], weights, options.get("inputs", ()))


def _keras(_: str, path: Path, options: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.tensors.keras_model import open_keras

    return open_keras(path, options.get("modules", ()))


def _tensorflow(_: str, path: Path, __: Mapping[str, Any]) -> OpenedModel:
    from packager.sources.tensors.tf_model import open_tensorflow

    return open_tensorflow(path)


_LOADERS: Mapping[str, Callable[[str, Path, Mapping[str, Any]], OpenedModel]] = {
    "skops": _estimator,
    "pickle": _estimator,
    "xgboost": _booster,
    "lightgbm": _booster,
    "catboost": _booster,
    "torch": _exported,
    "factory": _factory,
    "keras": _keras,
    "tensorflow": _tensorflow,
}


def open_model(form: str, path: Path, options: Mapping[str, Any]) -> OpenedModel:
    """Open a model file.

    Args:
        form: how, one of the keys above.
        path: the file or directory.
        options: ``allow_skew``, ``from_step``; for a factory ``factory``, ``weights``,
            ``inputs``.

    Raises:
        EdgepackError: one leaf for each thing that a user can mend; libraries raise others.
    """
    return _LOADERS[form](form, path, options)

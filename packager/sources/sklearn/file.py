"""A scikit-learn estimator out of its file, in the child: the only place that unpickles."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from packager.errors import SourceUnsupported, SourceUntrustedType, SourceVersionSkew
from packager.sources.boosters.trees import library_of
from packager.sources.sklearn.parts import every_part

# What scikit-learn warns of; versions before 1.3 have no class of their own for it.
_SKEW = r"Trying to unpickle estimator \S+ from version (\S+) when using version (\S+)\."


def load_estimator(form: str, path: Path, *, allow_skew: bool = False) -> Any:
    """Open a saved estimator. A pickle runs whatever code its writer chose.

    Args:
        form: ``skops`` or ``pickle`` (joblib's files are pickles).
        path: the file.
        allow_skew: open it although another version of scikit-learn wrote it.

    Raises:
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of scikit-learn wrote the file.
        SourceUnsupported: when what it holds is no fitted scikit-learn estimator.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not allow_skew:
                warnings.filterwarnings("error", _SKEW, UserWarning)
            model = _load_skops(path) if form == "skops" else joblib.load(path)
    except UserWarning as skew:
        saved, installed = re.findall(_SKEW, str(skew))[0]
        raise SourceVersionSkew(
            f"the model was saved by scikit-learn {saved}, this Python has {installed}",
            hint="Save the model again with this version, or pass --allow-version-skew.",
            expected=saved,
            found=installed,
        ) from None
    if not isinstance(model, BaseEstimator) and library_of(model) is None:
        kind = type(model)
        raise SourceUnsupported(
            "the file must hold a scikit-learn estimator, it holds a "
            f"{kind.__module__}.{kind.__qualname__}",
            hint="Save the fitted estimator or pipeline itself.",
            expected="estimator",
            found=f"{kind.__module__}.{kind.__qualname__}",
        )
    try:
        if hasattr(model, "fit"):  # a booster by itself exists only trained
            check_is_fitted(model)
    except NotFittedError:
        raise SourceUnsupported(
            f"the {type(model).__name__} must be fitted, it is not",
            hint="Call fit before saving the model.",
            expected="fitted",
            found="not fitted",
        ) from None
    _restore_counts(model)
    return model


def _restore_counts(model: Any) -> None:
    """Let CatBoost's parts tell how many features they read: a pickle does not keep that."""
    if "catboost" not in sys.modules:
        return
    from packager.sources.boosters.catboost import restore_count

    for _, part in every_part(model):
        if library_of(part) == "catboost":
            restore_count(part)


def _load_skops(path: Path) -> Any:
    import skops.io

    from packager.sources.sklearn.skops_types import TRUSTED

    named = skops.io.get_untrusted_types(file=path)
    untrusted = sorted(set(named) - TRUSTED)
    if untrusted:
        raise SourceUntrustedType(
            f"the skops file holds {', '.join(untrusted)}, outside scikit-learn's own types",
            hint="Take that part out of the pipeline, or build from a pickle that you trust.",
            expected="types of scikit-learn, scipy and numpy that hold numbers",
            found=untrusted,
        )
    return skops.io.load(path, trusted=named)

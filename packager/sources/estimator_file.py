"""A scikit-learn estimator out of its file, in the child: the only place that unpickles."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from packager.errors import SourceUnsupported, SourceUntrustedType, SourceVersionSkew


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
                warnings.simplefilter("error", InconsistentVersionWarning)
            model = _load_skops(path) if form == "skops" else joblib.load(path)
    except InconsistentVersionWarning as skew:
        saved, installed = skew.original_sklearn_version, skew.current_sklearn_version
        raise SourceVersionSkew(
            f"the model was saved by scikit-learn {saved}, this Python has {installed}",
            hint=f"Install scikit-learn=={saved} beside the packager, or save the model again.",
            expected=saved,
            found=installed,
        ) from None
    if not isinstance(model, BaseEstimator):
        kind = type(model)
        raise SourceUnsupported(
            "the file must hold a scikit-learn estimator, it holds a "
            f"{kind.__module__}.{kind.__qualname__}",
            hint="Save the fitted estimator or pipeline itself.",
            expected="estimator",
            found=f"{kind.__module__}.{kind.__qualname__}",
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise SourceUnsupported(
            f"the {type(model).__name__} must be fitted, it is not",
            hint="Call fit before saving the model.",
            expected="fitted",
            found="not fitted",
        ) from None
    return model


def _load_skops(path: Path) -> Any:
    import skops.io

    from packager.sources.skops_types import TRUSTED

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

"""How text vectorizers become the engine's: their words, their letters, what they cannot do."""

from __future__ import annotations

import re
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer

# The converter's default is absent on small devices, and fails only there.
LOCALE = "C.UTF-8"

_WORD = r"[\p{L}\p{N}_]"
# Python's patterns as the engine's RE2 needs them, whose own ``\w`` is ASCII. A run of letters
# is taken whole by either, so that the boundaries around it say nothing more.
_RUNS = re.compile(r"^(\(\?u\))?(\\b)?((?:\\w)*\\w\+|\\w\{(?P<least>\d+),\})(\\b)?$")
_ASCII_ONLY = re.compile(r"\\[bBdDsSwW]|\(\?|\\p|\(\*|[^\x00-\x7f]")


def text_options(vectorizer: Any) -> dict[str, str]:
    """Return the converter's options for a fitted vectorizer."""
    options = {"locale": LOCALE}
    pattern = engine_pattern(vectorizer)
    return options if pattern is None else {**options, "tokenexp": pattern}


def engine_pattern(vectorizer: Any) -> str | None:
    """Return a vectorizer's words as a pattern for RE2; None where there is no such."""
    pattern = vectorizer.token_pattern
    if vectorizer.analyzer != "word" or not isinstance(pattern, str):
        return None
    runs = _RUNS.match(pattern)
    if runs:
        least = int(runs["least"]) if runs["least"] else runs[3].count(r"\w")
        return f"{_WORD * (least - 1)}{_WORD}+"
    return None if _ASCII_ONLY.search(pattern) else pattern


def is_vectorizer(part: Any) -> bool:
    """Tell whether a part counts the words of texts."""
    return isinstance(part, CountVectorizer)


def refused_words(part: Any) -> str | None:
    """Return why the engine cannot cut texts as a vectorizer does, None where it can."""
    if not is_vectorizer(part):
        return None
    own = [name for name in ("tokenizer", "preprocessor") if getattr(part, name) is not None]
    if own or callable(part.analyzer):
        return f"its {(own or ['analyzer'])[0]} is a function of Python"
    if part.analyzer != "word":
        return f"analyzer={part.analyzer!r} joins white space, for which there is no operator"
    return _refused_pattern(part)


def _refused_pattern(part: Any) -> str | None:
    if part.strip_accents is not None:
        return f"strip_accents={part.strip_accents!r} has no operator"
    if engine_pattern(part) is None:
        return f"token_pattern={part.token_pattern!r} means something else to the engine"
    if part.get_stop_words() and part.ngram_range[1] > 1:
        return "n-grams span the stop words that it drops, in the engine they do not"
    return None

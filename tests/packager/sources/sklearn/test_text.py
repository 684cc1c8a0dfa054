"""Vectorizers cut texts into the same words as in Python, or are refused by the cause."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn_graphs import assert_agree, both

from packager.errors import ConversionFailed
from packager.sources.sklearn.text import engine_pattern, refused_words, text_options

TEXTS = [
    "Gutes Essen, sehr gut!",
    "SCHLECHTES Essen",
    "not good at all",
    "very good, würde wiederkommen",
    "大きい 犬 and cats",
    "bad bad bad",
    "",
    "a I x b good",
    "the movie was not the good one",
    "x_1 y-2 3.14 foo's",
    "tab\tnew\nline  two  spaces",
    "नमस्ते दुनिया",
    "no. 5 ½ ² ٣٤",
]
LIKED = [number % 2 for number in range(len(TEXTS))]
OTHERS = ["a", "b c", "Good GOOD not", "犬 犬", "good the one", "\n", "x_1 _ __", "55 5", "ÉTÉ"]
FRAME = pd.DataFrame({"text": [*TEXTS, *OTHERS]}).astype(object)


def cut_by(pattern: str, **more: Any) -> CountVectorizer:
    return CountVectorizer(**{"token_pattern": pattern, **more})


VECTORIZERS: dict[str, Any] = {
    "counts": CountVectorizer(),
    "tfidf": TfidfVectorizer(),
    "sublinear": TfidfVectorizer(sublinear_tf=True),
    "sublinear shares": TfidfVectorizer(sublinear_tf=True, norm="l1", use_idf=False),
    "sublinear sizes": TfidfVectorizer(sublinear_tf=True, norm=None),
    "binary": CountVectorizer(binary=True),
    "pairs": TfidfVectorizer(ngram_range=(1, 2)),
    "pairs alone": CountVectorizer(ngram_range=(2, 2)),
    "triples": CountVectorizer(ngram_range=(1, 3)),
    "capitals": CountVectorizer(lowercase=False),
    "letters": cut_by(r"(?u)\b\w+\b"),
    "letters in pairs": cut_by(r"(?u)\b\w+\b", ngram_range=(1, 2)),
    "long words": cut_by(r"\b\w{3,}\b"),
    "ascii": cut_by("[a-z]+"),
    "without stop words": CountVectorizer(stop_words="english"),
    "few": TfidfVectorizer(max_features=5),
}


@pytest.mark.parametrize("name", VECTORIZERS)
def test_texts_of_any_script_agree_together_and_alone(name: str) -> None:
    model = make_pipeline(VECTORIZERS[name], LogisticRegression(C=100)).fit(TEXTS, LIKED)

    assert_agree(both(model, FRAME))
    for text in ("", "a", "good"):
        alone = both(model, pd.DataFrame({"text": [text]}).astype(object))
        assert abs(alone.expected["probabilities"] - alone.actual["probabilities"]).max() < 1e-5


def test_vectorizers_get_their_options_wherever_they_stand() -> None:
    votes = VotingClassifier(
        [
            ("a", make_pipeline(TfidfVectorizer(), LogisticRegression())),
            ("b", make_pipeline(CountVectorizer(), MultinomialNB())),
        ],
        voting="soft",
    ).fit(TEXTS, LIKED)
    counted = make_pipeline(
        CountVectorizer(), TfidfTransformer(sublinear_tf=True), LogisticRegression()
    ).fit(TEXTS, LIKED)
    table = pd.DataFrame({"good": TEXTS, "bad": TEXTS[::-1]}).astype(object)
    parts = [("a", TfidfVectorizer(), "good"), ("b", CountVectorizer(), "bad")]
    columns = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(table, LIKED)

    for found in (both(votes, FRAME), both(counted, FRAME), both(columns, table)):
        assert_agree(found)
        assert b"C.UTF-8" in found.data
        assert b"en_US" not in found.data


REFUSED: dict[str, tuple[Any, str]] = {
    "characters": (CountVectorizer(analyzer="char"), "analyzer='char' joins white space"),
    "characters in words": (TfidfVectorizer(analyzer="char_wb"), "analyzer='char_wb'"),
    "own tokenizer": (CountVectorizer(tokenizer=str.split), "tokenizer is a function"),
    "own preprocessor": (CountVectorizer(preprocessor=str.lower), "preprocessor is a function"),
    "own analyzer": (CountVectorizer(analyzer=str.split), "analyzer is a function"),
    "accents": (CountVectorizer(strip_accents="unicode"), "strip_accents='unicode'"),
    "looking ahead": (cut_by(r"\w+(?=o)"), "means something else"),
    "stop words in pairs": (
        CountVectorizer(stop_words="english", ngram_range=(1, 2)),
        "span the stop words",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_words_that_the_engine_cannot_cut_are_refused(name: str) -> None:
    vectorizer, cause = REFUSED[name]
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, LIKED)

    assert cause in str(refused_words(vectorizer))
    with pytest.raises(ConversionFailed, match="vectorizer has no exact form"):
        both(model, FRAME)


@pytest.mark.parametrize(
    ("pattern", "engine"),
    [
        (r"(?u)\b\w\w+\b", r"[\p{L}\p{N}_][\p{L}\p{N}_]+"),
        (r"\w+", r"[\p{L}\p{N}_]+"),
        (r"(?u)\b\w{2,}\b", r"[\p{L}\p{N}_][\p{L}\p{N}_]+"),
        ("[a-z0-9]+", "[a-z0-9]+"),
        (r"\S+", None),
        (r"(?i)[a-z]+", None),
        (r"[a-zäöü]+", None),
        (r"(\w)\w+", None),
    ],
)
def test_patterns_are_those_of_the_engine(pattern: str, engine: str | None) -> None:
    assert engine_pattern(cut_by(pattern)) == engine


def test_without_a_pattern_the_locale_remains() -> None:
    assert text_options(CountVectorizer(analyzer="char")) == {"locale": "C.UTF-8"}


@given(st.text(max_size=30))
def test_the_engine_s_letters_are_python_s(text: str) -> None:
    """RE2's letters and numbers, stood in for by Unicode's own categories."""
    import unicodedata

    mine = [c for c in text if c == "_" or unicodedata.category(c)[0] in "LN"]
    assert mine == re.findall(r"\w", text)

"""Tolerances: room for rounding and for what was measured, none for sums that saturate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trained
from trained import candidate

from packager.golden_vectors.limits import (
    FLOOR,
    HALF_FLOOR,
    MARGIN,
    MEDIANS,
    NOISE_SHARE,
    limits_of,
    otherwise,
    turns,
    widened,
)
from packager.golden_vectors.spread import Spread
from packager.variant import Candidate

BASE = {"label": np.array([0, 1]), "y": np.array([[1.0], [-10.0]], np.float32)}
ANSWERS = {"label": np.array([0, 1]), "y": np.array([[1.3], [-10.0]], np.float32)}
STILL = {"label": 0.0, "y": 0.0}


def of(name: str) -> Candidate:
    return candidate(trained.cancer_logistic().graph, name)


def spread(name: str, apart: float, label: float = 0.0, cpu: str = "Haswell") -> Spread:
    return Spread(cpu, {name: {"label": label, "y": apart}}, {})


def test_float32_has_room_for_its_last_bits_and_int8_for_its_own_error() -> None:
    float32 = limits_of(of("float32"), BASE, BASE, STILL)
    int8 = limits_of(of("int8-static"), ANSWERS, BASE, STILL)
    half = limits_of(of("float16"), BASE, BASE, STILL)
    assert float32["y"].atol == pytest.approx(FLOOR * 10)
    assert int8["y"].atol == pytest.approx(NOISE_SHARE * 0.3, rel=1e-6)
    assert half["y"].atol == pytest.approx(HALF_FLOOR * 10)
    assert {one["label"].atol for one in (float32, int8, half)} == {0.0}


def test_rows_beyond_the_calibrated_ranges_do_not_widen_the_tolerance_of_int8() -> None:
    base = {"y": np.ones((32, 1), np.float32)}
    answers = {"y": base["y"] + np.float32(0.01)}
    answers["y"][:4] += 50
    limits = limits_of(of("int8-static"), answers, base, STILL)
    assert limits["y"].atol == pytest.approx(0.01, rel=1e-4)


def test_nudges_widen_what_is_allowed() -> None:
    limits = limits_of(of("float32"), BASE, BASE, {**STILL, "y": 0.5})
    assert limits["y"].atol == MEDIANS * 0.5


def test_what_float32_differs_by_elsewhere_widens_its_tolerance() -> None:
    one = of("float32")
    limits = limits_of(one, BASE, BASE, STILL)
    wide = widened(one, limits, [spread("float32", 0.02), spread("float32", 0.03)])
    assert wide["y"].atol == pytest.approx(MARGIN * 0.03)
    assert wide["label"] == limits["label"]
    assert otherwise(one, limits, [spread("float32", 0.03)]) == ""


@pytest.mark.parametrize("name", ["int8-static", "int8-dynamic"])
def test_int8_gets_no_room_and_is_rejected_beyond_its_own_noise(name: str) -> None:
    one = of(name)
    limits = limits_of(one, ANSWERS, BASE, STILL)
    most = limits["y"].atol / MARGIN
    assert widened(one, limits, [spread(name, 9.0)]) == limits
    assert otherwise(one, limits, [spread(name, 0.99 * most)]) == ""
    reason = otherwise(one, limits, [spread(name, 0.0, cpu="host"), spread(name, 1.01 * most)])
    assert reason.startswith("on Haswell 'y' of a golden row is 0.0757")
    assert reason.endswith("sums saturate")


def test_another_label_is_told_as_one() -> None:
    one = of("int8-static")
    limits = limits_of(one, ANSWERS, BASE, STILL)
    reason = otherwise(one, limits, [spread("int8-static", 0.0, math.inf, cpu="host")])
    assert reason == "here, opened otherwise, it answers another 'label' to a golden row"
    assert turns("int8-static", [spread("int8-static", 0.0, math.inf)])
    assert not turns("int8-static", [spread("int8-static", 1.0)])


def test_a_variant_that_gives_no_answers_somewhere_is_rejected() -> None:
    one = of("float32")
    limits = limits_of(one, BASE, BASE, STILL)
    silent = Spread("Nehalem", {"float32": STILL}, {"float32": "it was ended by SIGILL"})
    reason = otherwise(one, limits, [silent])
    assert reason == "on Nehalem it gives no answers: it was ended by SIGILL"

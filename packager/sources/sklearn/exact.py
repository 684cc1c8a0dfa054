"""Wires whose arithmetic is float64, for forms that float32 would spoil by cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.wires import BOOL, DOUBLE, FLOAT, Wires

# M. Wichura, Algorithm AS 241: the percentage points of the normal distribution, Applied
# Statistics 37 (1988): rational functions, from the highest power down, for the middle of the
# distribution, its flanks and its far ends; as good as float64.
_MIDDLE = (
    (
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.387132872796366608,
    ),
    (
        5226.495278852854561,
        28729.085735721942674,
        39307.89580009271061,
        21213.794301586595867,
        5394.1960214247511077,
        687.1870074920579083,
        42.313330701600911252,
        1.0,
    ),
)
_FLANK = (
    (
        7.7454501427834140764e-4,
        0.0227238449892691845833,
        0.24178072517745061177,
        1.27045825245236838258,
        3.64784832476320460504,
        5.7694972214606914055,
        4.6303378461565452959,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.475938084995344946e-4,
        0.0151986665636164571966,
        0.14810397642748007459,
        0.68976733498510000455,
        1.6763848301838038494,
        2.05319162663775882187,
        1.0,
    ),
)
_END = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        0.0012426609473880784386,
        0.026532189526576123093,
        0.29656057182850489123,
        1.7848265399172913358,
        5.4637849111641143699,
        6.6579046435011037772,
    ),
    (
        2.04426310338993978564e-15,
        1.4215117583164458887e-7,
        1.8463183175100546818e-5,
        7.868691311456132591e-4,
        0.0148753612908506148525,
        0.13692988092273580531,
        0.59983220655588793769,
        1.0,
    ),
)
_MIDDLE_HALF, _FLANK_ENDS = 0.425, 5.0
# Beyond this share scikit-learn cuts normal quantiles off.
_SHARE_EDGE = 1e-7 - np.spacing(1)


class ExactWires(Wires):
    """The nodes of one part, computed in float64; answers leave as the part's own type.

    Attributes:
        given_double: whether the rows come in float64 too.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        super().__init__(scope, operator, container)
        self._told = self.floats
        self.given_double = self.double
        self.floats = DOUBLE

    def answer(self, name: str, number: int = 0) -> None:
        """Let a tensor leave as this output of the part."""
        self.cast(name, self._told, out=self.output(number))

    def flags(self, values: Array) -> str:
        """Write truth values as a constant."""
        return self.number(values, BOOL)

    def affine(self, matrix: str, weights: Array, offset: Any) -> str:
        """Return ``matrix @ weights + offset``."""
        product = self.node("MatMul", matrix, self.number(weights))
        return self.node("Add", product, self.number(np.atleast_2d(offset)))

    def scaled(self, name: str, factor: float) -> str:
        """Return every number times a factor."""
        return self.node("Mul", name, self.number(factor))

    def squared_distances(self, matrix: str, points: Array) -> str:
        """Return the squared euclidean distance of every row to every point.

        As ``|x|² - 2 x·p + |p|²`` around the points' centre, which keeps the terms small.
        """
        centre = points.mean(axis=0, keepdims=True)
        moved = self.node("Sub", matrix, self.number(centre))
        near = points - centre
        own = self.row_sums(self.node("Mul", moved, moved))
        cross = self.affine(moved, -2 * near.T, (near**2).sum(axis=1))
        return self.node("Max", self.node("Add", own, cross), self.number(0.0))

    def periodic(self, kind: str, angle: str) -> str:
        """Return ``Sin`` or ``Cos`` of angles, which the engine only has in float32.

        Whole turns are taken off in float64 first, so that large angles lose nothing.
        """
        turn = self.number(2 * np.pi)
        turns = self.node("Round", self.node("Div", angle, turn))
        rest = self.node("Sub", angle, self.node("Mul", turns, turn))
        return self.cast(self.node(kind, self.cast(rest, FLOAT)), DOUBLE)

    def normal_quantile(self, share: str) -> str:
        """Return the value that this share of the standard normal distribution lies below.

        Shares of 0 and 1 give the values that scikit-learn cuts off at.
        """
        share = self.node("Max", share, self.number(_SHARE_EDGE))
        share = self.node("Min", share, self.number(1 - _SHARE_EDGE))
        half = self.node("Sub", share, self.number(0.5))
        near = self.node("Sub", self.number(_MIDDLE_HALF**2), self.node("Mul", half, half))
        middle = self.node("Mul", half, self._ratio(near, _MIDDLE))
        rest = self.node("Min", share, self.node("Sub", self.number(1.0), share))
        depth = self.node("Sqrt", self.node("Neg", self.node("Log", rest)))
        flank = self._ratio(self.node("Sub", depth, self.number(1.6)), _FLANK)
        end = self._ratio(self.node("Sub", depth, self.number(_FLANK_ENDS)), _END)
        near_flank = self.node("LessOrEqual", depth, self.number(_FLANK_ENDS))
        outer = self.node("Where", near_flank, flank, end)
        outer = self.node("Mul", outer, self.node("Sign", half))
        inside = self.node("GreaterOrEqual", near, self.number(0.0))
        return self.node("Where", inside, middle, outer)

    def _ratio(self, name: str, powers: tuple[Sequence[float], Sequence[float]]) -> str:
        """Return the quotient of two polynomials by Horner's rule."""
        values = []
        for first, *others in powers:
            value = self.number(first)
            for factor in others:
                value = self.node("Mul", value, name)
                value = self.node("Add", value, self.number(factor))
            values.append(value)
        return self.node("Div", *values)

"""Recipes: how candidates are made from the float32 graph, as data."""

from __future__ import annotations

from dataclasses import dataclass

QUICK, NORMAL, FULL = EFFORTS = ("quick", "normal", "full")

FLOAT32, FLOAT16 = "float32", "float16"
INT8_STATIC, INT8_DYNAMIC, INT8_WEIGHTS = "int8-static", "int8-dynamic", "int8-weights"
INT4 = "int4"
FAMILIES = (INT8_STATIC, INT8_DYNAMIC, INT8_WEIGHTS, INT4, FLOAT16, FLOAT32)


@dataclass(frozen=True)
class Recipe:
    """How one candidate is made.

    Attributes:
        name: what the candidate, and the rung that it may become, is called.
        family: recipes of one family differ in detail; a ladder has one of each at most.
        effort: the least of ``EFFORTS`` at which it is tried without a need.
        form: of a float32 recipe ``plain``, ``fused`` or ``trees``; else empty.
        ranges: of a static recipe how ranges are found: ``minmax``, ``entropy`` or
            ``percentile``; else empty.
        dense_only: leave everything but MatMul and Gemm as it is.
        sparing: leave the nodes as they are whose int8 form errs most.
    """

    name: str
    family: str
    effort: str = "quick"
    form: str = ""
    ranges: str = ""
    dense_only: bool = False
    sparing: bool = False

    @property
    def precision(self) -> str:
        """``float32``, ``float16``, ``int8`` or ``int4``."""
        return self.family.partition("-")[0]

    @property
    def sums_integers(self) -> bool:
        """Whether it adds up products of 8 bits, which saturates on some processors."""
        return self.family in (INT8_STATIC, INT8_DYNAMIC)

    @property
    def remedy(self) -> bool:
        """Whether it mends what the plain recipe of its family loses."""
        return self.sparing or self.ranges not in ("", "minmax")


PLAIN = Recipe(FLOAT32, FLOAT32, form="plain")

RECIPES = (
    Recipe("float32-fused", FLOAT32, NORMAL, form="fused"),
    Recipe("float32-trees", FLOAT32, form="trees"),
    Recipe("int8-static", INT8_STATIC, ranges="minmax"),
    Recipe("int8-static-entropy", INT8_STATIC, ranges="entropy"),
    Recipe("int8-static-percentile", INT8_STATIC, ranges="percentile"),
    Recipe("int8-static-dense", INT8_STATIC, NORMAL, ranges="minmax", dense_only=True),
    Recipe("int8-static-sparing", INT8_STATIC, ranges="minmax", sparing=True),
    Recipe("int8-dynamic", INT8_DYNAMIC),
    Recipe("int8-dynamic-sparing", INT8_DYNAMIC, sparing=True),
    Recipe("int8-weights", INT8_WEIGHTS),
    Recipe("int4", INT4, NORMAL),
    Recipe("float16", FLOAT16),
)

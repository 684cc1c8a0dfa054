"""What the user says of how a source model opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SourceOptions:
    """How a source model opens; every field is a flag of ``build``.

    Attributes:
        trust_pickle: open a pickle although it runs code.
        modules: directories whose modules it needs (``--path``).
        converters: Python files that register converters (``--converter``).
        from_step: how many steps of a pipeline the application computes itself.
        allow_version_skew: open it with other library versions than wrote it.
        weights: the state_dict of a factory.
        inputs: the inputs of a factory, as ``name:dtype[axis,…]``.
    """

    trust_pickle: bool = False
    modules: tuple[Path, ...] = ()
    converters: tuple[Path, ...] = ()
    from_step: int | None = None
    allow_version_skew: bool = False
    weights: Path | None = None
    inputs: tuple[str, ...] = ()

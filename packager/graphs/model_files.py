"""A model as files: its graph and, where its weights are many, one file of them beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from onnx import ModelProto

from edge_runtime.contract.bundle.content import Stored
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.engine.session import Session, SessionPlan, open_session

# The engine packs weights for its kernels, which is a private copy of them, unless told not to.
MAPPED = {"session.disable_prepacking": "1"}


@dataclass(frozen=True)
class Weights:
    """A file of weights in a directory that is ours to write in.

    Attributes:
        path: the file; its name is the one by which graphs beside it call it.
        content: its bytes.
    """

    path: Path
    content: Stored


@dataclass(frozen=True)
class ModelFiles:
    """A model that the engine can open.

    Attributes:
        graph: the ONNX file.
        weights: what the graph reads beside it; None where it holds its weights itself.
    """

    graph: bytes = field(repr=False)
    weights: Weights | None = None

    @classmethod
    def of(cls, model: ModelProto, weights: Weights | None) -> ModelFiles:
        """Return a graph and what it reads beside it; the same graph gives the same bytes."""
        return cls(bytes(model.SerializeToString(deterministic=True)), weights)

    @property
    def size(self) -> int:
        """How many bytes it has, weights included."""
        return len(self.graph) + (self.weights.content.size if self.weights else 0)

    @property
    def mark(self) -> bytes:
        """Bytes that no other model has: what is measured on it is recorded by them."""
        return self.graph + (self.weights.content.sha256.encode() if self.weights else b"")

    def open(self, plan: SessionPlan) -> Session:
        """Open it on this machine; weights beside it are mapped, not read.

        Raises:
            ModelLoadFailed: when the engine refuses the graph.
        """
        if self.weights is None:
            return open_session(self.graph, plan)
        return open_session(self.placed(self.weights.path.parent), plan)

    def placed(self, room: Path) -> Path:
        """Return the path of the graph as a file; it stands beside its weights if it has any.

        Args:
            room: the directory that takes it where it has none.
        """
        directory = self.weights.path.parent if self.weights else room
        path = directory / f"{sha256_hex(self.graph)[:16]}.onnx"
        if not path.exists():  # else another process may be reading it
            draft = path.with_suffix(f".{uuid4().hex}")
            draft.write_bytes(self.graph)
            draft.replace(path)
        return path

    def open_mapped(self) -> Session:
        """Open it on the CPU in as little memory as can be, whatever that costs in speed.

        Raises:
            ModelLoadFailed: when the engine refuses the graph.
        """
        return self.open(SessionPlan(session_options=MAPPED if self.weights else {}))

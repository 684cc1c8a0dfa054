"""Labels at a graph's end: classes renamed, made of scores, or chosen by a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import TensorProto

from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.graph import Graph, Label
from packager.sources.processing.graph_edit import GraphEdit

_SECOND = 1
_LABEL_ENCODER_BY_KEYS = 2  # its attributes changed with this version of ai.onnx.ml
_ML = "ai.onnx.ml"


@dataclass(frozen=True)
class LabelOutput:
    """How labels are made of what a model answers.

    Attributes:
        labels: the classes that are answered.
        threshold: the second of two is answered from this score on; None where the greatest
            score wins, or the model's own label stays.
        inner: the model's output of labels; empty where it has only scores.
        classes: the model's own classes, where it answers labels.
        scores: the model's output of scores; empty where it has none.
        single: whether that is one number a row, from which the other class's follows.
        roles: the graph's roles afterwards.
    """

    labels: tuple[Label, ...]
    threshold: float | None
    inner: str = ""
    classes: tuple[Label, ...] = ()
    scores: str = ""
    single: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)

    # --- by numpy --------------------------------------------------------------------------

    def answers(self, found: Arrays) -> Arrays:
        """Return what is answered, given the model's own answers; computed by numpy."""
        if self.inner:
            label = self._chosen(found) if self.threshold is not None else self._renamed(found)
            return {**found, self.inner: label}
        scores = self._both(found[self.scores]) if self.single else found[self.scores]
        named = {self._scores_name: scores}
        return {self.roles["label"]: self._label(scores), **named}

    def _chosen(self, found: Arrays) -> Array:
        return self._label(found[self.scores])

    def _renamed(self, found: Arrays) -> Array:
        new = dict(zip(map(_key, self.classes), self._table(), strict=True))
        given = [new[_key(value)] for value in found[self.inner].tolist()]
        return np.array(given, dtype=self._table().dtype)

    def _label(self, scores: Array) -> Array:
        if self.threshold is None:
            return np.asarray(self._table()[scores.argmax(axis=1)])
        # Written as the graph has it: what is not below the threshold, a NaN included.
        below = scores[:, _SECOND] < np.asarray(self.threshold).astype(scores.dtype)
        return np.asarray(self._table()[np.logical_not(below).astype(np.int64)])

    def _both(self, single: Array) -> Array:
        """Return a column a class, given the second class's."""
        first = -single if "score" in self.roles else single.dtype.type(1) - single
        return np.concatenate([first, single], axis=1)

    def _table(self) -> Array:
        """Return the classes as the graph answers them."""
        text = any(isinstance(label, str) for label in self.labels)
        values = list(self.labels) if text else list(map(int, self.labels))
        return np.array(values, dtype=object if text else np.int64)

    @property
    def _scores_name(self) -> str:
        return next(name for role, name in self.roles.items() if role != "label")

    # --- in the graph ----------------------------------------------------------------------

    def put_behind(self, graph: Graph, opset: Mapping[str, int]) -> Graph:
        """Return the graph that answers these labels.

        Args:
            graph: the model's graph.
            opset: the newest operator sets that may be used, by domain.

        Raises:
            ConversionFailed: when it is of an operator set too old to be added to.
        """
        edit = GraphEdit(graph.model)
        specs = {spec.name: spec for spec in graph.outputs}
        outputs = (
            self._relabelled(edit, specs, opset) if self.inner else self._made(edit, specs)
        )
        edit.set_outputs(outputs)
        return replace(
            graph,
            model=edit.model,
            outputs=outputs,
            task="classification",
            roles=self.roles,
            labels=self.labels,
            threshold=graph.threshold if self.threshold is None else self.threshold,
        )

    def _relabelled(
        self, edit: GraphEdit, specs: Mapping[str, TensorSpec], opset: Mapping[str, int]
    ) -> tuple[TensorSpec, ...]:
        old = specs[self.inner]
        given = edit.rename(self.inner, f"{self.inner}_given")
        if self.threshold is None:
            index = self._index_of_class(edit, given, opset)
        else:
            index = self._index_by_threshold(edit, self.scores, specs[self.scores].dtype)
        self._look_up(edit, index, self.inner)
        new = TensorSpec(self.inner, _dtype(self._table()), old.shape[:1])
        return tuple(new if spec is old else spec for spec in specs.values())

    def _made(self, edit: GraphEdit, specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
        old = specs[self.scores]
        value, wanted = self.scores, self._scores_name
        if self.single:
            value = edit.rename(value, f"{value}_single")
            edit.free(wanted)
            value = self._both_in_graph(edit, value, old, edit.fresh(wanted))
        elif value != wanted:
            edit.free(wanted)
            value = edit.rename(value, wanted)
        if self.threshold is not None:
            index = self._index_by_threshold(edit, value, old.dtype)
        else:
            index = self._index_of_greatest(edit, value, old.dtype)
        edit.free(self.roles["label"])
        label = self._look_up(edit, index, edit.fresh(self.roles["label"]))
        batch = old.shape[0]
        return (
            TensorSpec(label, _dtype(self._table()), (batch,)),
            TensorSpec(value, old.dtype, (batch, len(self.labels))),
        )

    def _both_in_graph(
        self, edit: GraphEdit, single: str, spec: TensorSpec, output: str
    ) -> str:
        first = edit.fresh("first_score")
        if "score" in self.roles:
            edit.behind("Neg", [single], first)
        else:
            one = edit.constant(np.ones((), DTYPES[spec.dtype]), "one")
            edit.behind("Sub", [one, single], first)
        return edit.behind("Concat", [first, single], output, axis=1)

    def _index_of_class(self, edit: GraphEdit, given: str, opset: Mapping[str, int]) -> str:
        """Return which of its classes the model answers."""
        if any(isinstance(one, str) for one in self.classes):
            version = edit.opset(_ML)
            if version is None:
                version = opset.get(_ML, _LABEL_ENCODER_BY_KEYS)
                edit.model.opset_import.add(domain=_ML, version=version)
            texts = list(map(str, self.classes))
            attributes = {"classes_strings": texts, "default_int64": 0}
            if version >= _LABEL_ENCODER_BY_KEYS:
                numbers = list(range(len(texts)))
                attributes = {"keys_strings": texts, "values_int64s": numbers}
            index = edit.fresh("class_index")
            return edit.behind("LabelEncoder", [given], index, domain=_ML, **attributes)
        keys = edit.constant(np.array(list(map(int, self.classes)), np.int64), "classes")
        column = edit.constant(np.array([-1, 1], np.int64), "label_column")
        whole = edit.behind("Cast", [given], edit.fresh("label_whole"), to=TensorProto.INT64)
        tall = edit.behind("Reshape", [whole, column], edit.fresh("label_tall"))
        same = edit.behind("Equal", [tall, keys], edit.fresh("label_same"))
        return self._index_of_greatest(edit, same, "bool")

    def _index_of_greatest(self, edit: GraphEdit, scores: str, dtype: str) -> str:
        scores = _comparable(edit, scores, dtype)
        return edit.behind("ArgMax", [scores], edit.fresh("class_index"), axis=1, keepdims=0)

    def _index_by_threshold(self, edit: GraphEdit, scores: str, dtype: str) -> str:
        scores = _comparable(edit, scores, dtype)
        work = np.float64 if dtype == "float64" else np.float32
        limit = edit.constant(np.asarray(self.threshold, work), "threshold")
        second = edit.constant(np.asarray(_SECOND, np.int64), "second")
        column = edit.behind("Gather", [scores, second], edit.fresh("second_score"), axis=1)
        below = edit.behind("Less", [column, limit], edit.fresh("below"))
        above = edit.behind("Not", [below], edit.fresh("above"))
        return edit.behind("Cast", [above], edit.fresh("class_index"), to=TensorProto.INT64)

    def _look_up(self, edit: GraphEdit, index: str, output: str) -> str:
        names = edit.constant(self._table(), "labels")
        return edit.behind("Gather", [names, index], output, axis=0)


def _comparable(edit: GraphEdit, scores: str, dtype: str) -> str:
    """Return scores that the engine can compare: half precision and flags become float32."""
    if dtype in ("float32", "float64"):
        return scores
    return edit.behind("Cast", [scores], edit.fresh("comparable"), to=TensorProto.FLOAT)


def _dtype(table: Array) -> str:
    return "string" if table.dtype.kind == "O" else "int64"


def _key(label: Label) -> Label:
    return label if isinstance(label, str) else int(label)

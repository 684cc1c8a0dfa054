"""What is put around a model: images at its front, labels and a threshold at its end.

The source that comes out answers end to end, so the parity gate compares the added nodes as it
compares the model's own: here numpy does the same steps around the model's own answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import Session, SessionPlan
from packager.answers import run_rows
from packager.errors import ConfigInvalid
from packager.graph import Description, Graph, MissingProbe
from packager.sources.attempts import attempt
from packager.sources.onnx_source import FRAMEWORK as ONNX
from packager.sources.processing.image_input import ImageInput, image_input
from packager.sources.processing.label_choice import check_count, check_two, label_output
from packager.sources.processing.label_output import LabelOutput
from packager.sources.source import Source
from packager.sources.tensor_columns import tensor_columns

_CLASSIFICATION = "classification"
# Frameworks whose models of one output do not say whether it means classes.
_SILENT = (ONNX, "pytorch", "keras", "tensorflow")
_BESIDE = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class Processing:
    """What is asked for; every field may be empty.

    Attributes:
        labels: names of the classes, in the order of the model's outputs.
        threshold: from which score on the second of two classes is answered.
        image: height, width and channels of the images that the application hands over.
        mean: what is subtracted from each channel, once its values are within 0…1.
        std: what each channel is then divided by.
        layout: ``nchw`` or ``nhwc``, where the model has the channels.
    """

    labels: tuple[str, ...] = ()
    threshold: float | None = None
    image: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "nchw"

    @property
    def labelling(self) -> bool:
        """Whether labels are to be answered otherwise than the model does."""
        return bool(self.labels) or self.threshold is not None


def processed(source: Source, processing: Processing) -> Source:
    """Return the source with what is asked for put around it; itself where nothing is."""
    if not processing.image and not processing.labelling:
        return source
    return ProcessedSource(source, processing)


class ProcessedSource:
    """A source with more around it; ``graph`` comes before anything that answers.

    Args:
        source: the model.
        processing: what is put around it.
    """

    def __init__(self, source: Source, processing: Processing) -> None:
        self._source = source
        self._asked = processing
        self._images: ImageInput | None = None
        self._inner: Graph | None = None
        self._output: LabelOutput | None = None

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what the model is with what is put around it; this holds for what follows.

        Args:
            kinds: the columns of the user's data and their kinds, in order; None without data.

        Raises:
            ConfigInvalid: when model and flags do not go together.
            DataUnusable: when the data's columns cannot be the model's.
        """
        told = self._source.describe(None if self._asked.image else kinds)
        if self._asked.image:
            told = self._with_images(told, kinds)
        if self._asked.labelling:
            told = self._with_labels(told)
        return told

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert the model for these operator sets, and put around it what was asked for.

        Raises:
            ConversionFailed: when it has no form in ONNX, or one too old to be added to.
            ConfigInvalid: when its outputs and the flags do not go together.
        """
        self._inner = graph = self._source.graph(opset)
        if self._images is not None:
            graph = self._images.put_before(graph)
        if self._asked.labelling:
            self._output = label_output(self._inner, self._asked.labels, self._asked.threshold)
            graph = self._output.put_behind(graph, opset)
        return graph

    def reference(self, columns: Mapping[str, Array]) -> Arrays:
        """Return the answers of numpy, the model itself, and numpy again.

        Where the graph is the source, the graph as it was before anything was added takes the
        model's place.
        """
        parts = [self._own_answers(rows) for rows in self._fed(columns)]
        return self._labelled(
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        )

    def attempt(
        self, columns: Mapping[str, Array], blocks: Sequence[int]
    ) -> tuple[NDArray[np.bool_], Arrays]:
        """Ask for rows that the model may refuse: which it answered, and these answers."""
        rows = columns if self._images is None else self._all_scaled(columns)
        if self._graph_is_source:
            refused, answers = attempt(self._engine_answers, dict(rows), blocks)
            answered = np.ones(sum(blocks), dtype=bool)
            answered[refused] = False
        else:
            answered, answers = self._source.attempt(rows, blocks)
        return answered, self._labelled(answers) if answers else answers

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Say what is answered when a column is missing, for some of these rows."""
        if self._images is not None:
            return ()
        return tuple(
            replace(probe, answers=probe.answers and self._labelled(probe.answers))
            for probe in self._source.missing_probe(columns)
        )

    def diagnose(self) -> tuple[Mapping[str, str], ...]:
        """Say of each step of the model what would become of it."""
        return self._source.diagnose()

    def example(self) -> Arrays | None:
        """Return rows that came with the model; none where it is handed images instead."""
        return None if self._images is not None else self._source.example()

    # --- what goes in ----------------------------------------------------------------------

    def _with_images(self, told: Description, kinds: Mapping[str, str] | None) -> Description:
        asked = self._asked
        self._images = image_input(
            told.inputs, asked.image, mean=asked.mean, std=asked.std, layout=asked.layout
        )
        inputs = (self._images.spec,)
        if kinds is not None:
            tensor_columns(inputs, kinds)  # refuses a table, which no image comes from
        return replace(told, inputs=inputs)

    def _fed(self, columns: Mapping[str, Array]) -> Iterator[Mapping[str, Array]]:
        """Yield what the model itself takes; of images only a few at a time."""
        if self._images is None:
            yield columns
            return
        name = self._images.wanted.name
        for images in self._images.chunks(columns[name]):
            yield {name: self._images.scaled(images)}

    def _all_scaled(self, columns: Mapping[str, Array]) -> Arrays:
        parts = list(self._fed(columns))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    # --- what comes out --------------------------------------------------------------------

    def _with_labels(self, told: Description) -> Description:
        labels, threshold = self._asked.labels, self._asked.threshold
        means_classes = told.task == _CLASSIFICATION and bool(told.labels)
        if means_classes and labels:
            check_count(labels, len(told.labels))
        if not means_classes and not (labels and _may_mean_classes(told)):
            raise ConfigInvalid(
                "labels and a threshold need a model that answers classes or a score for each; "
                f"this {told.source.framework} model is for {told.task}, it names no classes",
                hint="Leave out --labels and --threshold, or give --labels for a model that "
                "answers nothing but scores.",
                key="labels" if labels else "threshold",
                expected=_CLASSIFICATION,
                found=told.task,
            )
        classes = labels or told.labels
        if threshold is not None:
            check_two(len(classes))
        return replace(told, task=_CLASSIFICATION, labels=tuple(classes))

    def _labelled(self, answers: Arrays) -> Arrays:
        return answers if self._output is None else self._output.answers(answers)

    # --- the model itself ------------------------------------------------------------------

    @property
    def _graph(self) -> Graph:
        if self._inner is None:
            message = "graph() comes before anything that answers"
            raise RuntimeError(message)
        return self._inner

    @property
    def _graph_is_source(self) -> bool:
        return self._graph.source.framework == ONNX

    def _own_answers(self, rows: Mapping[str, Array]) -> Arrays:
        found = None if self._graph_is_source else self._source.reference(rows)
        return self._engine_answers(rows) if found is None else found

    def _engine_answers(self, rows: Mapping[str, Array]) -> Arrays:
        graph = self._graph
        if not graph.columns:
            return run_rows(self._session, {s.name: rows[s.name] for s in graph.inputs})
        permissive = [replace(column, missing="allow") for column in graph.columns]
        own = {column.name: rows[column.name] for column in permissive}
        return run_rows(self._session, assemble(permissive, graph.inputs, own))

    @cached_property
    def _session(self) -> Session:
        beside = self._graph.beside
        options = {} if beside is None else {_BESIDE: str(beside)}
        return self._graph.files.open(SessionPlan(session_options=options))


def _may_mean_classes(told: Description) -> bool:
    """Tell whether a model that names no classes may still answer a score for each."""
    return told.source.framework in _SILENT and told.task in ("tensors", "regression")

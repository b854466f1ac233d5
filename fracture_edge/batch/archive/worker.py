"""Classification of tasks on the machines of a cluster; Ray starts one `Worker` for each core."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fracture_edge._version import __version__
from fracture_edge.batch.archive.sources import StoredObject
from fracture_edge.batch.inputs import is_object
from fracture_edge.batch.records import Format, render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.decoding import Wanted
from fracture_edge.errors import FractureEdgeError


class WorkerOptions(NamedTuple):
    """What makes all workers give the same answers.

    Attributes:
        version: Version of the package on the machine that started the archive.
        sha256: SHA-256 of the model file.
        classifier: Options of `FractureClassifier` by name.
        style: Format of the records.
    """

    version: str
    sha256: str
    classifier: Mapping[str, Any]
    style: Format


class Worker:
    """Callable that classifies the files of one task after the other with one classifier on one thread."""

    def __init__(self, model: Any, options: WorkerOptions) -> None:
        """Open the model.

        Args:
            model: Reference to the bytes of the model file in Ray's object store.
            options: Options of all workers.

        Raises:
            FractureEdgeError: Another version of the package is installed here.
        """
        import ray

        context = ray.get_runtime_context()
        self._node, self._style = context.get_node_id(), options.style
        if __version__ != options.version:
            raise FractureEdgeError(
                f"fracture-edge {__version__} is installed on node {self._node}, and {options.version} where the "
                "archive was started; install the same version everywhere"
            )
        descriptor, name = tempfile.mkstemp(suffix=".onnx")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(ray.get(model))
            self._classifier = FractureClassifier(path, 1, **options.classifier)
        finally:
            path.unlink()
        if self._classifier.sha256 != options.sha256:
            raise FractureEdgeError(f"the model that node {self._node} received is damaged")

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Classify the files of a task.

        Args:
            row: Task as `to_row` makes it.

        Returns:
            Block and number of the task, id of this machine, and the records as bytes.
        """
        texts = [
            text
            for wanted in from_row(row)
            for text in render(
                self._classifier.predict_frames(
                    StoredObject(str(wanted.file)) if is_object(str(wanted.file)) else wanted.file,  # type: ignore[arg-type]
                    wanted.frames,
                ),
                self._style,
                header=False,
            )
        ]
        return {
            "block": row["block"],
            "task": row["task"],
            "node": self._node,
            "records": "".join(texts).encode("utf-8", "surrogateescape"),
        }


def to_row(block: int, task: int, wanted: Sequence[Wanted]) -> dict[str, Any]:
    """Make the row of a task; as JSON, because Arrow's strings cannot hold every file name."""
    return {"block": block, "task": task, "wanted": json.dumps([(str(one.file), one.frames) for one in wanted])}


def from_row(row: Mapping[str, Any]) -> list[Wanted]:
    """Return the files and frames of a task."""
    return [Wanted(*one) for one in json.loads(row["wanted"])]

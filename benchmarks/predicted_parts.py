"""Body parts that a model file itself sees, for images of which the data say none."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fracture_edge.attributes import BODY_PART_NAME, Attributes
from fracture_edge.modelfile import INPUT_NAME
from fracture_edge.runtimes.opening import open_model

#: Body part of an image in which the model recognises none.
NOT_RECOGNISED = "not recognised"
#: Runtimes whose files have outputs beside P(fractured).
RUNTIMES = ("onnxruntime", "litert")
_COLUMN = "{row}: body part"


def part_column(row: str) -> str:
    """Return the name of the column with the body parts that a row predicts, from the row's id."""
    return _COLUMN.format(row=row)


def is_part_column(name: str) -> bool:
    """Return whether a column of ``RUN.csv`` has predicted body parts."""
    return name.endswith(part_column(""))


def predicted_parts(path: Path | None, pixels: npt.NDArray[np.uint8], *, threads: int) -> list[str] | None:
    """Predict the body part of images; of several in one image the likeliest.

    Args:
        path: Path of an ``.onnx`` or ``.tflite`` file; the embedded model if ``None``.
        pixels: Preprocessed images, uint8 [N, H, W, 1].
        threads: Number of threads.

    Returns:
        Body parts or `NOT_RECOGNISED`, N; ``None`` if the file has no such output.
    """
    opened = open_model(path, threads)
    known = Attributes.of_model(opened.info.attributes, (), opened.outputs, remarks=False).by_name
    if BODY_PART_NAME not in known:
        return None
    attribute, found = known[BODY_PART_NAME], []
    for row in range(len(pixels)):
        (values,) = opened.session.run([BODY_PART_NAME], {INPUT_NAME: pixels[row : row + 1]})
        likeliest = attribute.labels[int(values[0].argmax())]
        found.append(likeliest if attribute.named(values[0]) else NOT_RECOGNISED)
    return found

"""Pictures that are the same on every machine, and what the embedded model says to them.

``models/known-answers.json`` holds the answers; `export.embed` writes it with the model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture_edge.classifier import FractureClassifier

FILE = Path(__file__).resolve().parents[1] / "models" / "known-answers.json"
PICTURES = 6


def phantom(number: int) -> bytes:
    """A picture in the manner of a long bone, as a PNG file; of integers alone, so that it is the same everywhere.

    Args:
        number: Which of them; it changes slope, width, brightness and texture, and every other has a gap.
    """
    import io

    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:384, 0:288].astype(np.int64)
    distance = np.abs(columns - 144 - (rows - 192) * (number - 3) // 16)
    width = 26 + 4 * number
    tissue = np.maximum(0, 90 - distance * 90 // 130)
    wall = np.maximum(0, 100 - np.abs(distance - width) * (9 - number // 2))
    marrow = np.where(distance < width, 50 + 5 * number, 0)
    texture = (rows * 7919 + columns * 104729 + rows * columns * (number + 3)) % 23
    picture = tissue + wall + marrow + texture
    if number % 2:
        gap = np.abs(rows - 180 - (columns - 144) * (number - 2) // 4) <= 2 + number // 3
        picture = np.where(gap & (distance <= width + 6), picture // 3, picture)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def answers(classifier: "FractureClassifier", pictures: int = PICTURES) -> dict[str, Any]:
    """What a model says to the first `pictures` phantoms: its SHA-256, and P(fractured) of each."""
    predictions = classifier.predict_many(phantom(number) for number in range(pictures))
    return {
        "model_sha256": classifier.sha256,
        "probabilities": [round(prediction.probability or 0.0, 6) for prediction in predictions],
    }

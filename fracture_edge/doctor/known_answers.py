"""Known-answer test: synthetic images that are the same on every machine, and the model's predictions for them.

The expected predictions are in ``models/known-answers.json``, which `export.embed` writes with the embedded model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture_edge.classifier import FractureClassifier

FILE = Path(__file__).resolve().parents[1] / "models" / "known-answers.json"
IMAGES = 7
#: Height of the images in pixels and number of grey levels of their texture. The last image is three times as high
#: as wide and has much texture: Pillow 13 resizes such images differently in one call, which moves P by 0.08 here.
_HEIGHT, _TEXTURE = 384, 23
_LAST_HEIGHT, _LAST_TEXTURE = 864, 229


def phantom(number: int) -> bytes:
    """Draw a synthetic long bone; in integer arithmetic, so that it is the same on every machine.

    Args:
        number: Number of the image, from 0. It sets slope, width, brightness and texture; odd ones have a gap.

    Returns:
        Image of 384 x 288 pixels (height x width), the last one of 864 x 288, as the bytes of a PNG file.
    """
    import io

    import numpy as np
    from PIL import Image

    height, levels = (_LAST_HEIGHT, _LAST_TEXTURE) if number == IMAGES - 1 else (_HEIGHT, _TEXTURE)
    middle = height // 2
    rows, columns = np.mgrid[0:height, 0:288].astype(np.int64)
    distance = np.abs(columns - 144 - (rows - middle) * (number - 3) // 16)
    width = 26 + 4 * number
    tissue = np.maximum(0, 90 - distance * 90 // 130)
    wall = np.maximum(0, 100 - np.abs(distance - width) * (9 - number // 2))
    marrow = np.where(distance < width, 50 + 5 * number, 0)
    texture = (rows * 7919 + columns * 104729 + rows * columns * (number + 3)) % levels
    picture = tissue + wall + marrow + texture
    if number % 2:
        gap = np.abs(rows - (middle - 12) - (columns - 144) * (number - 2) // 4) <= 2 + number // 3
        picture = np.where(gap & (distance <= width + 6), picture // 3, picture)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def predictions(classifier: "FractureClassifier", images: int = IMAGES) -> dict[str, Any]:
    """Classify the first synthetic images.

    Args:
        classifier: Classifier of the images.
        images: Number of images.

    Returns:
        ``model_sha256`` of the classifier, and ``probabilities``, P(fractured) of each image.
    """
    found = classifier.predict_many(phantom(number) for number in range(images))
    return {
        "model_sha256": classifier.sha256,
        "probabilities": [round(prediction.probability or 0.0, 6) for prediction in found],
    }

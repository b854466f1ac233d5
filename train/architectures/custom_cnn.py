"""Network `custom_cnn`: the reference's small convolutional one, 44.4 M parameters, 99.8 % in one Dense layer."""

import keras
from keras import layers

from fracture_edge.errors import FractureEdgeError


def build(
    height: int,
    width: int,
    *,
    filters: tuple[int, int, int] = (32, 64, 128),
    units: int = 512,
) -> keras.Model:
    """Build the network: 3 x [Conv 3x3 ReLU, BatchNorm, MaxPool 2, Dropout 0.25], Dense 512, Dense 1.

    The reference reads radiographs as RGB; the grey channel is repeated three times here, so that the
    first convolution has its published shape.

    Args:
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        filters: Numbers of filters of the three convolutions; smaller ones for tests.
        units: Number of units of the hidden Dense layer.

    Returns:
        A model from ``image`` uint8 [N, height, width, 1] to ``probability`` float32 [N, 1].

    Raises:
        FractureEdgeError: `filters` does not have three numbers.
    """
    if len(filters) != 3:
        raise FractureEdgeError(f"filters {list(filters)}: must be three numbers")
    image = keras.Input((height, width, 1), dtype="uint8", name="image")
    grey = layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    x = layers.Concatenate(name="three_channels", dtype="float32")([grey, grey, grey])
    x = layers.Rescaling(1 / 255, name="normalise", dtype="float32")(x)
    for number, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 3, activation="relu", name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
        x = layers.Dropout(0.25, name=f"dropout{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(units, activation="relu", name="hidden")(x)
    x = layers.BatchNormalization(name="hidden_norm")(x)
    x = layers.Dropout(0.5, name="hidden_dropout")(x)
    probability = layers.Dense(1, activation="sigmoid", name="probability", dtype="float32")(x)
    return keras.Model(image, probability, name="custom_cnn")

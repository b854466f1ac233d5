"""Network `edge`: EfficientNet-Lite0 for one grey channel.

EfficientNet-Lite (Google, 2020) is EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation and
with ReLU6 in place of swish, which makes it robust to 8-bit quantisation. Lite0 has 4.6 M parameters with its
ImageNet classifier; without it, with a stem for one channel and a map of cells, 3.4 M.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

#: (repeats, kernel, stride, expansion, filters) of the seven stages; table 1 of the EfficientNet paper.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_FILTERS, TOP_FILTERS = 32, 1280
#: Normalisation (x - 127) / 128 and epsilon of the batch norms, as in the published ImageNet model.
MEAN, SCALE, EPSILON = 127.0, 128.0, 1e-3


def build(
    height: int,
    width: int,
    *,
    filters: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
    drop_path: float = 0.1,
    deep_evidence: bool = False,
) -> keras.Model:
    """Build the network.

    Args:
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        filters: Factor of the numbers of filters (at least 4 remain); for tests.
        depth: Factor of the repeats of a stage (at least 1 remains); for tests.
        dropout: Share of pooled features dropped during training.
        drop_path: Probability that the last residual branch is dropped during training (stochastic depth,
            Huang et al., ECCV 2016); it grows linearly from 0 at the first block.
        deep_evidence: Whether averages and maxima of the last feature map and of all residual sums of its size
            are pooled, and not the averages of the last map alone: earlier maps keep what ImageNet's classes do
            not need (Evci et al., "Head2Toe", ICML 2022).

    Returns:
        A model from ``image`` uint8 [N, height, width, 1] to ``probability`` float32 [N, 1].
    """
    stages = [(max(1, math.ceil(depth * repeats)), *others) for repeats, *others in STAGES]

    def scaled(count: int) -> int:
        return max(4, round(count * filters))

    image = keras.Input((height, width, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    x = layers.Rescaling(1 / SCALE, -MEAN / SCALE, name="normalise", dtype="float32")(x)
    x = _convolution(x, scaled(STEM_FILTERS), 3, 2, "stem")
    sums: list[keras.KerasTensor] = []
    index, count = 0, sum(stage[0] for stage in stages)
    for repeats, kernel, stride, expansion, stage_filters in stages:
        for repeat in range(repeats):
            x = _block(
                x,
                scaled(stage_filters),
                kernel,
                stride if repeat == 0 else 1,
                expansion,
                drop=drop_path * index / count,
                name=f"block{index:02d}",
            )
            index += 1
            if repeat > 0:
                sums.append(x)
    top = _convolution(x, scaled(TOP_FILTERS), 1, 1, "top")
    # One logit per cell of the last feature map, trained on boxes around fractures where there are any. The
    # image's log-odds are the largest logit of a cell plus a term of the pooled features: a fracture fills a cell
    # or two, whose signal is lost in an average over all of them. The last layer only scales and shifts; the
    # calibration is folded into it.
    bias = keras.initializers.Constant(-3.0)
    cells = layers.Conv2D(1, 1, bias_initializer=bias, name="cells")(top)
    strongest = layers.GlobalMaxPooling2D(name="strongest_cell")(cells)
    pooled = layers.GlobalAveragePooling2D(name="pool")(top)
    if deep_evidence:
        pooled = _with_earlier(pooled, top, [x for x in sums if x.shape[1:3] == top.shape[1:3]])
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    evidence = layers.Add(name="evidence")([strongest, layers.Dense(1, name="pooled_evidence")(pooled)])
    probability = layers.Dense(
        1, activation="sigmoid", kernel_initializer="ones", name="probability", dtype="float32"
    )(evidence)
    return keras.Model(image, probability, name="edge")


def _with_earlier(
    pooled: keras.KerasTensor, top: keras.KerasTensor, sums: Sequence[keras.KerasTensor]
) -> keras.KerasTensor:
    """Add the maxima of the last map, and averages and maxima of earlier maps, to its averages."""
    parts = [pooled, layers.GlobalMaxPooling2D(name="pool_max")(top)]
    for number, x in enumerate(sums, 1):
        parts.append(layers.GlobalAveragePooling2D(name=f"pool{number}")(x))
        parts.append(layers.GlobalMaxPooling2D(name=f"pool{number}_max")(x))
    return layers.Concatenate(name="evidence_features")(parts)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def _convolution(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(6, name=f"{name}_relu")(_norm(x, name))


def _block(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    stride: int,
    expansion: int,
    *,
    drop: float,
    name: str,
) -> keras.KerasTensor:
    """Add an inverted residual: expand, depthwise convolution, project (Sandler et al., CVPR 2018)."""
    channels = x.shape[-1]
    y = _convolution(x, channels * expansion, 1, 1, f"{name}_expand") if expansion > 1 else x
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv")(y)
    y = layers.ReLU(6, name=f"{name}_depthwise_relu")(_norm(y, f"{name}_depthwise"))
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _norm(y, f"{name}_project")
    if stride != 1 or channels != filters:
        return y
    if drop > 0:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])

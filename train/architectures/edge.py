"""`edge`: EfficientNet-Lite for one grey channel.

EfficientNet-Lite (Google, 2020) is EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation and
with ReLU6 in place of swish, which makes it survive 8-bit quantisation. Lite0 has 4.6 M parameters with its
ImageNet classifier; without it, with a stem for one channel and a map of cells, 3.4 M.
"""

import math
from types import MappingProxyType

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
#: Factors of filters and repeats (Tan and Le, section 3.3). Lite keeps stem, top, and the stages of one block.
VARIANTS = MappingProxyType({"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)})
#: Of the maps that the cells are made of.
CELL_FILTERS = 64
#: As in the published ImageNet model: (x - 127) / 128, and the batch norms' epsilon.
MEAN, SCALE, EPSILON = 127.0, 128.0, 1e-3


def stages_of(variant: str) -> tuple[tuple[int, int, int, int, int], ...]:
    """`STAGES` with the repeats and filters of a variant.

    Raises:
        ValueError: No such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    width, depth = VARIANTS[variant]
    return tuple(
        (
            repeats if repeats == 1 else math.ceil(depth * repeats),
            kernel,
            stride,
            expansion,
            _by_eights(width * count),
        )
        for repeats, kernel, stride, expansion, count in STAGES
    )


def build(
    height: int,
    width: int,
    *,
    variant: str = "lite0",
    top_filters: int = TOP_FILTERS,
    filters: float = 1.0,
    dropout: float = 0.2,
    drop_path: float = 0.1,
    fine_cells: bool = False,
    deep_evidence: bool = False,
) -> keras.Model:
    """Build the network.

    Args:
        height: Rows of the input.
        width: Columns of the input.
        variant: A key of `VARIANTS`.
        top_filters: Of the last convolution, which holds a tenth of the parameters; published with 1280.
        filters: Multiplies the number of filters (at least 4 stay); for tests.
        dropout: Share of pooled features dropped while training.
        drop_path: Probability that the last residual branch is dropped while training (stochastic depth,
            Huang et al., ECCV 2016); it grows linearly from 0 at the first block.
        fine_cells: Whether there is a cell for 16 pixels, not for 32.
        deep_evidence: Whether what is pooled is, beside the averages of the last map, its maxima, and averages and
            maxima of every residual sum of 16 and 32 pixels a cell: what earlier layers tell is lost at the last
            one (Evci et al., "Head2Toe", ICML 2022).

    Returns:
        A model from ``image`` uint8 [N, height, width, 1] to ``probability`` float32 [N, 1].

    Raises:
        ValueError: No such variant, or fewer than 1 or more than 1280 filters at the top.
    """
    if not 1 <= top_filters <= TOP_FILTERS:
        raise ValueError(f"top_filters {top_filters} is not in 1 to {TOP_FILTERS}")
    stages = stages_of(variant)

    def scaled(count: int) -> int:
        return max(4, round(count * filters))

    image = keras.Input((height, width, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    x = layers.Rescaling(1 / SCALE, -MEAN / SCALE, name="normalise", dtype="float32")(x)
    x = _convolution(x, scaled(STEM_FILTERS), 3, 2, "stem")
    sums = []
    reduction = 2
    index, count = 0, sum(stage[0] for stage in stages)
    for repeats, kernel, stride, expansion, stage_filters in stages:
        if stride > 1:
            fine = x
        reduction *= stride
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
            # The first block of a stage adds nothing to its input.
            if repeat > 0 and reduction >= 16:
                sums.append(x)
            index += 1
    top = _convolution(x, scaled(top_filters), 1, 1, "top")
    # One logit per cell of the last feature map, trained on marked fractures where there are any. The
    # image's log-odds are the strongest cell's plus a term of the pooled features: a fracture fills a cell
    # or two, which an average over all of them drowns. The last layer only scales and shifts, which is
    # where the calibration is folded in.
    bias = keras.initializers.Constant(-3.0)
    if fine_cells:
        coarse = layers.Conv2D(1, 1, bias_initializer=bias, name="cells_coarse")(top)
        cells = layers.Add(name="cells")(_refined(coarse, fine, x, scaled(CELL_FILTERS)))
    else:
        cells = layers.Conv2D(1, 1, bias_initializer=bias, name="cells")(top)
    strongest = layers.GlobalMaxPooling2D(name="strongest_cell")(cells)
    pooled = layers.GlobalAveragePooling2D(name="pool")(top)
    if deep_evidence:
        parts = [pooled, layers.GlobalMaxPooling2D(name="pool_max")(top)]
        for number, x in enumerate(sums, 1):
            parts.append(layers.GlobalAveragePooling2D(name=f"pool{number}_mean")(x))
            parts.append(layers.GlobalMaxPooling2D(name=f"pool{number}_max")(x))
        pooled = layers.Concatenate(name="evidence_features")(parts)
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    evidence = layers.Add(name="evidence")([strongest, layers.Dense(1, name="pooled_evidence")(pooled)])
    probability = layers.Dense(
        1, activation="sigmoid", kernel_initializer="ones", name="probability", dtype="float32"
    )(evidence)
    return keras.Model(image, probability, name="edge")


def _by_eights(filters: float) -> int:
    """The nearest multiple of 8, as the published networks have it: the next one where it is less than 90 %."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _refined(
    coarse: keras.KerasTensor, fine: keras.KerasTensor, context: keras.KerasTensor, filters: int
) -> list[keras.KerasTensor]:
    """Logits of cells of half the size: two maps to be added.

    What the coarser cells say is laid over the finer ones, which correct it by what they see themselves and what
    is around them (lateral connections as in Lin et al., "Feature Pyramid Networks", CVPR 2017). The correction
    begins with nothing.

    Args:
        coarse: Logits of the coarser cells.
        fine: The last feature map of twice the resolution.
        context: The last one of the coarser.
        filters: Of the maps that the correction is made of.
    """

    def over(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        x = layers.UpSampling2D(2, name=f"{name}_over")(x)
        # An odd number of rows or columns was rounded up when it was halved.
        surplus = [(0, over - size) for over, size in zip(x.shape[1:3], fine.shape[1:3], strict=True)]
        return layers.Cropping2D(surplus, name=f"{name}_crop")(x) if any(map(any, surplus)) else x

    lateral = _norm(layers.Conv2D(filters, 1, use_bias=False, name="cells_lateral_conv")(fine), "cells_lateral")
    around = _norm(layers.Conv2D(filters, 1, use_bias=False, name="cells_context_conv")(context), "cells_context")
    y = layers.Add(name="cells_sum")([lateral, over(around, "cells_context")])
    y = layers.ReLU(6, name="cells_relu")(y)
    y = layers.DepthwiseConv2D(3, 1, "same", use_bias=False, name="cells_depthwise_conv")(y)
    y = layers.ReLU(6, name="cells_depthwise_relu")(_norm(y, "cells_depthwise"))
    correction = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="zeros", name="cells_correction")(y)
    return [over(coarse, "cells_coarse"), correction]


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
    """Inverted residual: expand, depthwise convolution, project (Sandler et al., CVPR 2018)."""
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

"""Results of the steps of an export, returned from their processes."""

from dataclasses import dataclass, field
from typing import Any

from train.export_record import CalibrationImages, Fidelity, GateMetrics


@dataclass(frozen=True, slots=True)
class Prepared:
    """Result of reading the images of an export.

    Attributes:
        labels: Labels of the validation images, 0 or 1.
        groups: Groups of the validation images.
        calibration: Training images for the ranges of the activations.
        fidelity_labels: Labels of the training images outside the calibration that the gate looks at.
        attributes: Metadata of the outputs for body part and view, see
            `fracture_edge.modelfile.ModelInfo.attributes`; empty if the model was trained without.
        classes: Names of the classes of the output ``classes``; empty if the model was trained without.
    """

    labels: list[int]
    groups: list[str]
    calibration: CalibrationImages
    fidelity_labels: list[int] = field(default_factory=list)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Float32Onnx:
    """Result of writing the float32 ONNX file that all other ONNX files are derived from.

    Attributes:
        typicality: Threshold of the output ``atypicality`` and its share of false alarms, as ``threshold`` and
            ``false_alarms``; empty if the model was trained without typicality.
    """

    typicality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Converted:
    """Content of an exported file.

    Attributes:
        operators: Number of operators by kind.
        opset: Version of the ONNX operator set; ``None`` for TFLite.
    """

    operators: dict[str, int]
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class SensitiveLayers:
    """Layers with weights, the one with the most quantisation noise first.

    Attributes:
        nodes: Names of the nodes that must stay float32 with each layer for it to be free of noise: the layer, the
            one before it, and what lies between.
    """

    nodes: list[list[str]]


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparison of an exported file with its Keras source.

    Attributes:
        gate: Metrics on the validation images.
        milliseconds: Median time of one image with one thread.
        fidelity: Metrics on validation and training images; ``None`` where they are not asked for.
    """

    gate: GateMetrics
    milliseconds: float
    fidelity: Fidelity | None = None

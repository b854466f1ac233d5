"""Results of the steps of an export, returned from their processes."""

from dataclasses import dataclass, field

from train.export_record import CalibrationImages


@dataclass(frozen=True, slots=True)
class Prepared:
    """Result of reading the images of an export.

    Attributes:
        labels: Labels of the validation images, 0 or 1.
        groups: Groups of the validation images.
        calibration: Training images for the ranges of the activations.
    """

    labels: list[int]
    groups: list[str]
    calibration: CalibrationImages


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
    """Names of the layers with weights, the one with the most quantisation noise first."""

    nodes: list[str]

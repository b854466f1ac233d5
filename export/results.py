"""Results of the steps of an export, as they come back from their processes."""

from dataclasses import dataclass, field

from train.export_record import CalibrationImages


@dataclass(frozen=True, slots=True)
class Prepared:
    """Images of an export.

    Attributes:
        labels: Labels of the validation images, 0 or 1.
        groups: Groups of the validation images.
        calibration: Training images for the ranges of activations.
    """

    labels: list[int]
    groups: list[str]
    calibration: CalibrationImages


@dataclass(frozen=True, slots=True)
class Float32Onnx:
    """The float32 ONNX file that all other ONNX files are made of.

    Attributes:
        typicality: ``threshold`` of the output ``atypicality`` and its share of ``false_alarms``; empty where the
            model was trained without typicality.
    """

    typicality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Converted:
    """Content of an exported file.

    Attributes:
        operators: Number of operators by kind.
        opset: Version of ONNX's operators; ``None`` for TFLite.
    """

    operators: dict[str, int]
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class SensitiveLayers:
    """Names of the layers, the one that quantisation disturbs most first."""

    nodes: list[str]

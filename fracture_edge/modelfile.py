"""Model files: a graph, ``.onnx`` or ``.tflite``, with the metadata needed to use and to evaluate it.

An ONNX graph takes ``image`` uint8 [N, height, width, 1] and returns ``probability`` float32 [N, 1]. The metadata
is JSON in the ONNX model's ``metadata_props`` under the key `METADATA_KEY`; see `embed_info` for TFLite.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fracture_edge.errors import ModelError
from fracture_edge.models import EMBEDDED, EMBEDDED_FILE
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing

SCHEMA_VERSION = 1
METADATA_KEY = "fracture_edge"
_TFLITE_ENTRY = "fracture_edge.json"
#: File identifier of TFLite files, from their fourth byte.
_TFLITE = b"TFL3"
POSITIVE_CLASS = "fractured"
INPUT_NAME, OUTPUT_NAME = "image", "probability"
#: Names of the operating points that training settles, the default first. Older files lack ``certain``.
OPERATING_POINTS = ("balanced", "certain", "screening", "specific")
#: Optional outputs of a graph: class-activation map, and distance of the image from the training images.
HEATMAP_NAME, ATYPICALITY_NAME = "heatmap", "atypicality"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Metadata of a model file.

    Attributes:
        name: Name of the model, for example ``edge-int8``.
        architecture: Name of the architecture, for example ``edge``.
        precision: Number format: ``float32``, ``float16``, ``dynamic`` (TFLite with int8 weights only) or
            ``int8``.
        preprocessing: Preprocessing from a grey image to the input of the graph.
        policy: Default operating point: threshold and uncertain band.
        operating_points: Operating points by name (``balanced``, ``certain``, ``screening``, ``specific``). Each
            has the fields of a `Policy`, its metrics, 0 to 1, on the images that it was fitted to
            (``sensitivity`` and ``specificity`` of the decided images, ``uncertain_share``) and, in newer files,
            the further fields of ``train.artifacts.OperatingPoint``.
        typicality: Limit of the output ``atypicality``: its ``threshold`` (a squared distance), above which an
            image counts as unlike the training images, and the share of ``false_alarms`` on the validation images
            that it was fitted for. Empty if the graph has no such output.
        attributes: Further outputs, ``body_part`` and ``view``, by name: the ``labels`` in the order of the output
            and the ``threshold`` from which one is named, see `fracture_edge.attributes.Attribute`. Empty if the
            graph has no such outputs.
        classes: Names of the classes of the output ``classes``, a softmax, in its order; empty if the graph has no
            such output.
        suitability: Fields of `fracture_edge.suitability.Limits`; missing ones have their defaults.
        calibration: Temperature and intercept of the calibration, for information: the graph contains them
            already.
        training: Dataset, its fingerprint, recipe, random seed and epochs.
        metrics: Metrics at the end of training by the images they are of: ``validation`` or ``out_of_fold``.
        versions: Versions of the packages that made the file.
        licence: Licence of the weights and attribution of the data.
        created: Time of creation, ISO 8601, UTC.
        positive_class: Name of the positive class, always ``fractured``: the output is P(fractured).
        version: Version of the weights, for example ``0.3``; empty if none was given.
        schema_version: Version of the metadata format.
    """

    name: str
    architecture: str
    precision: str
    preprocessing: Preprocessing
    policy: Policy
    operating_points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    typicality: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    classes: Sequence[str] = field(default_factory=list)
    suitability: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    created: str = ""
    positive_class: str = POSITIVE_CLASS
    version: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def full_name(self) -> str:
        """Name followed by the version, as in `Prediction.model`, for example ``edge-int8 0.3``."""
        return f"{self.name} {self.version}".rstrip()

    def to_json(self) -> str:
        """Return the metadata as JSON with sorted keys, so that equal metadata gives equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    def policy_named(self, name: str | None) -> Policy:
        """Return the policy of an operating point.

        Args:
            name: Name in `operating_points`; the default `policy` if ``None``.

        Raises:
            ModelError: The model has no operating point of this name, or its values are invalid.
        """
        if name is None:
            return self.policy
        point = self.operating_points.get(name)
        if point is None:
            there = ", ".join(self.operating_points) or "none"
            again = "; train and export the model again to have it" if name in OPERATING_POINTS else ""
            raise ModelError(f"{self.name} has no operating point '{name}'; it has: {there}{again}")
        try:
            return Policy(*(float(point[entry.name]) for entry in fields(Policy)))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"operating point '{name}': {error}") from error

    @classmethod
    def from_json(cls, text: str) -> "ModelInfo":
        """Parse metadata, the inverse of `to_json`.

        Raises:
            ModelError: The text is not JSON, has a newer schema, is incomplete, or names another positive class.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ModelError("the metadata is not JSON") from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if not isinstance(version, int):
            raise ModelError("the metadata has no schema version")
        if version > SCHEMA_VERSION:
            raise ModelError(
                f"the metadata has schema {version}, this version reads up to {SCHEMA_VERSION}: "
                "update fracture-edge"
            )
        # A later minor version may add keys; known keys keep their meaning within a schema version.
        known = {entry.name for entry in fields(cls)}
        try:
            values["preprocessing"] = Preprocessing.from_dict(values["preprocessing"])
            values["policy"] = Policy.from_dict(values["policy"])
            info = cls(**{name: value for name, value in values.items() if name in known})
        except (KeyError, TypeError) as error:
            raise ModelError(f"the metadata is incomplete ({error})") from error
        if info.positive_class != POSITIVE_CLASS:
            raise ModelError(f"the positive class is '{info.positive_class}', not '{POSITIVE_CLASS}'")
        return info


def read_model(path: str | os.PathLike[str] | None) -> tuple[str, bytes, str]:
    """Read a model file, or the embedded one when `path` is ``None``.

    Args:
        path: Path of the model file; the embedded model if ``None``.

    Returns:
        Name of the file for messages, content of the file, and its SHA-256 in hexadecimal.

    Raises:
        ModelError: The file cannot be read, or the embedded model differs from the one that was shipped.
    """
    if path is not None:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ModelError(f"{os.fspath(path)}: {error.strerror}") from error
        return os.fspath(path), data, hashlib.sha256(data).hexdigest()
    try:
        data = EMBEDDED_FILE.read_bytes()
        expected = json.loads(EMBEDDED_FILE.with_suffix(".json").read_bytes())["sha256"]
    except OSError as error:
        raise ModelError("the embedded model is missing: reinstall fracture-edge") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("the embedded model is damaged: reinstall fracture-edge") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise ModelError("the embedded model is damaged: reinstall fracture-edge")
    return EMBEDDED, data, digest


def embed_info(source: Path, info: ModelInfo, target: Path) -> None:
    """Write a copy of a model file that contains the metadata `info`.

    ONNX files store it in ``metadata_props``, which needs the `onnx` package (`[export]`). TFLite files store it
    in the way of TFLite's metadata convention for associated files: a ZIP archive appended to the model, with
    ``fracture_edge.json`` and ``labels.txt``, which any unzip program lists.

    Args:
        source: Path of an ``.onnx`` or ``.tflite`` file.
        info: Metadata to store.
        target: Path of the copy; may be `source`.
    """
    if source.suffix == ".tflite":
        import zipfile

        target.write_bytes(source.read_bytes())
        with zipfile.ZipFile(target, "a") as archive:
            for name, text in ((_TFLITE_ENTRY, info.to_json()), ("labels.txt", f"{info.positive_class}\n")):
                # A fixed modification time, so that equal models give equal files.
                archive.writestr(zipfile.ZipInfo(name), text)
        return
    import onnx

    model = onnx.load(os.fspath(source))
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    onnx.helper.set_model_props(model, kept | {METADATA_KEY: info.to_json()})
    onnx.save(model, os.fspath(target))


def is_tflite(name: str, data: bytes) -> bool:
    """Return whether a model file is TFLite, by the ending of its name or by its content."""
    return data[4:8] == _TFLITE or name.lower().endswith(".tflite")


def tflite_info(name: str, data: bytes) -> ModelInfo:
    """Read the metadata of a TFLite file; see `embed_info` for how it is stored.

    Args:
        name: Name of the file in messages.
        data: Content of the file.

    Raises:
        ModelError: The metadata is missing, damaged or of a newer schema.
    """
    import io
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            text = archive.read(_TFLITE_ENTRY).decode()
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, RuntimeError, EOFError) as error:
        raise ModelError(
            f"{name}: no fracture-edge metadata inside; make model files with `fracture-edge export`"
        ) from error
    try:
        return ModelInfo.from_json(text)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def read_tflite_info(path: Path) -> ModelInfo:
    """Read the metadata of a TFLite file, which needs no runtime; see `tflite_info` for the errors."""
    name, data, _ = read_model(path)
    return tflite_info(name, data)

"""One model is one ``.onnx`` file: the graph, and all that is needed to use and to judge it, as JSON inside.

The graph takes ``image`` uint8 [N, height, width, 1] and returns ``probability`` float32 [N, 1]. The JSON lies
in the ONNX model's ``metadata_props`` under `METADATA_KEY`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
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
POSITIVE_CLASS = "fractured"
INPUT_NAME, OUTPUT_NAME = "image", "probability"
#: Further outputs that a graph may have: where the model looked, and how unlike the training images the image is.
HEATMAP_NAME, ATYPICALITY_NAME = "heatmap", "atypicality"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model file says about itself.

    Attributes:
        name: For people, such as ``edge-int8``.
        architecture: Such as ``edge``.
        precision: ``float32``, ``float16``, ``dynamic`` (TFLite: int8 weights only) or ``int8``.
        preprocessing: How an image becomes the graph's input.
        policy: Threshold and uncertain band.
        operating_points: By name (``balanced``, ``screening``, ``specific``) the fields of a policy, and what it
            kept on the validation images: ``sensitivity`` and ``specificity`` of the decided ones,
            ``uncertain_share``. `policy` is the one that is used when none is named.
        typicality: ``threshold`` of the output ``atypicality``, above which an image is called unlike the training
            images, and the share of ``false_alarms`` on validation that it was fitted for; empty where the graph
            has no such output.
        suitability: Fields of `fracture_edge.suitability.Limits`; the defaults where one is missing.
        calibration: Temperature and intercept, folded into the graph already; for the record.
        training: Data, fingerprint, recipe, seed and epochs.
        metrics: Measured on the validation split when the model was trained.
        versions: Of the tools that made the file.
        licence: Of the weights, and the attribution of the data.
        created: ISO 8601, UTC.
        positive_class: Always ``fractured``: probability is P(fractured).
        version: Version of the weights, such as ``0.3``; empty where the maker gave none.
        schema_version: Version of this format.
    """

    name: str
    architecture: str
    precision: str
    preprocessing: Preprocessing
    policy: Policy
    operating_points: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    typicality: Mapping[str, float] = field(default_factory=dict)
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
        """Name and version, as records carry them: ``edge-int8 0.3``."""
        return f"{self.name} {self.version}".rstrip()

    def to_json(self) -> str:
        """The record as JSON, sorted, so that equal records are equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    def policy_named(self, name: str | None) -> Policy:
        """Get the policy of one of `operating_points`, or `policy` for ``None``.

        Raises:
            ModelError: There is none of this name, or its numbers make no policy.
        """
        if name is None:
            return self.policy
        point = self.operating_points.get(name)
        if point is None:
            there = ", ".join(self.operating_points) or "none; train and export it anew"
            raise ModelError(f"{self.name} holds no operating point '{name}', it has: {there}")
        try:
            return Policy(*(float(point[entry.name]) for entry in fields(Policy)))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"operating point '{name}': {error}") from error

    @classmethod
    def from_json(cls, text: str) -> "ModelInfo":
        """Read a record.

        Raises:
            ModelError: Not JSON, of a newer schema, incomplete, or of another positive class.
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
        # A later minor version may add keys; the ones known here keep their meaning within a schema.
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

    Returns:
        Its name for messages, its bytes, and their SHA-256 in hexadecimal.

    Raises:
        ModelError: It cannot be read, or the embedded model is not the one that was shipped.
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
    """Write a copy of a model file with `info` inside.

    ONNX files carry it in ``metadata_props``, which needs the `onnx` package (`[export]`). TFLite files carry it
    as TFLite's own metadata convention packs associated files: a ZIP archive behind the model, with
    ``fracture_edge.json`` and ``labels.txt``, which any unzip program lists.

    Args:
        source: An ``.onnx`` or ``.tflite`` file.
        info: What it shall say about itself.
        target: Where the copy goes; may be `source`.
    """
    if source.suffix == ".tflite":
        import zipfile

        target.write_bytes(source.read_bytes())
        with zipfile.ZipFile(target, "a") as archive:
            for name, text in ((_TFLITE_ENTRY, info.to_json()), ("labels.txt", f"{info.positive_class}\n")):
                # A fixed time: equal models are equal files.
                archive.writestr(zipfile.ZipInfo(name), text)
        return
    import onnx

    model = onnx.load(os.fspath(source))
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    onnx.helper.set_model_props(model, kept | {METADATA_KEY: info.to_json()})
    onnx.save(model, os.fspath(target))


def read_tflite_info(path: Path) -> ModelInfo:
    """What a TFLite file of ours says about itself; see `embed_info`.

    Raises:
        ModelError: The file cannot be read, or has no such metadata.
    """
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_TFLITE_ENTRY).decode()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"{path}: no fracture-edge metadata inside; make model files with `fracture-edge export`"
        ) from error
    return ModelInfo.from_json(text)

"""Body part, view and classes of an image, from further outputs of a model.

They do not change the decision: `Prediction.reason` tells of a body part that the model does not recognise, and of
a contradiction with the DICOM header. A header is a weak witness: of the body parts in the headers of one hospital
15 % were wrong (Gueld et al., "Quality of DICOM header information for image categorization", SPIE 4685, 2002).
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ModelError

#: Names of the outputs, and of the fields of `Prediction` that name the likeliest label.
BODY_PART_NAME, VIEW_NAME = "body_part", "view"
OUTPUTS = (BODY_PART_NAME, VIEW_NAME)
#: Name of the output with the probabilities of classes that exclude each other.
CLASSES_NAME = "classes"
#: Endings of the names of the fields that an output gives; one that is not here gives a single field, of its name.
ENDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {BODY_PART_NAME: ("", "_probability", "_code"), VIEW_NAME: ("", "_probability")}
)
#: What joins the names of labels in a field.
JOINED = "+"

_HAND, _LEG, _HIP, _SHOULDER = (frozenset({part}) for part in ("hand", "leg", "hip", "shoulder"))
#: Body parts that an image may show whose header has one of these words in Body Part Examined (0018,0015): terms
#: of DICOM PS3.16, annex L, and common spellings. In FracAtlas forearms and elbows are hands, knees and feet are
#: legs, and most upper arms and thighs have two parts.
HEADER_PARTS: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(("HAND", "HANDS", "FINGER", "FINGERS", "THUMB", "WRIST", "CARPUS"), _HAND)
    | dict.fromkeys(("FOREARM", "RADIUS", "ULNA"), _HAND)
    | dict.fromkeys(("ARM", "ELBOW", "HUMERUS", "UPPERARM"), _HAND | _SHOULDER)
    | dict.fromkeys(("SHOULDER", "CLAVICLE", "SCAPULA", "ACJOINT"), _SHOULDER)
    | dict.fromkeys(("HIP", "PELVIS", "SIJOINT"), _HIP)
    | dict.fromkeys(("FEMUR", "THIGH"), _HIP | _LEG)
    | dict.fromkeys(("LEG", "KNEE", "PATELLA", "TIBFIB", "TIBIA", "FIBULA", "CALF"), _LEG)
    | dict.fromkeys(("ANKLE", "FOOT", "FEET", "HEEL", "CALCANEUS", "TOE", "TOES"), _LEG)
)


class BodyPartCode(StrEnum):
    """Machine-readable remark on the body part of an image; the sentence in `Prediction.reason` may change.

    Attributes:
        UNKNOWN: No body part is likely enough to be named.
        CONTRADICTION: The DICOM header states another body part than the model sees.
    """

    UNKNOWN = "unknown_body_part"
    CONTRADICTION = "body_part_contradicts_header"


#: Remarks at the end of `Prediction.reason`, and what joins the body parts in them.
REMARKS: Mapping[BodyPartCode, str] = MappingProxyType(
    {
        BodyPartCode.UNKNOWN: "body part not recognised",
        BodyPartCode.CONTRADICTION: "the header states {stated}, the image looks like {seen}",
    }
)
STATED_JOINED, SEEN_JOINED = " or ", " and "
#: How `Prediction.reason` goes on with a remark.
WITH_REMARK = "; {remark}"


class Description(NamedTuple):
    """What the further outputs say about one image.

    Attributes:
        columns: Values of the fields of `Prediction` with these names.
        remark: Remark for the end of `Prediction.reason`; empty if there is none.
    """

    columns: Mapping[str, Any]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Labels that an output of a model has probabilities of, several of which may hold for one image.

    Attributes:
        labels: Names of the labels, in the order of the output.
        threshold: Probability from which a label is named.
    """

    labels: tuple[str, ...]
    threshold: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Attribute":
        """Make an attribute from its entry in the metadata of a model.

        Raises:
            ModelError: A field is missing or invalid.
        """
        try:
            return cls(tuple(map(str, values["labels"])), float(values["threshold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"attributes: {error!r}") from error

    def named(self, probabilities: npt.NDArray[np.floating[Any]]) -> tuple[str, ...]:
        """Return the labels whose probability, [number of labels], reaches the threshold."""
        return tuple(
            label for label, value in zip(self.labels, probabilities, strict=True) if value >= self.threshold
        )


def header_parts(text: str) -> frozenset[str]:
    """Return the body parts that a DICOM header allows.

    Args:
        text: Value of Body Part Examined, in upper case.

    Returns:
        Body parts as FracAtlas names them; none if the value is empty or has no word of `HEADER_PARTS`.
    """
    words = (HEADER_PARTS.get(word, frozenset()) for word in re.split("[^A-Z]+", text))
    return frozenset[str]().union(*words)


@dataclass(frozen=True, slots=True)
class Attributes:
    """Further outputs of a model.

    Attributes:
        by_name: Labels of each of `OUTPUTS` that the model has, by its name.
        classes: Names of the classes; none if the model has no such output.
        remarks: Whether to remark on the body part.
    """

    by_name: Mapping[str, Attribute]
    classes: tuple[str, ...] = ()
    remarks: bool = True

    @classmethod
    def of_model(
        cls,
        metadata: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        outputs: Mapping[str, object],
        *,
        remarks: bool,
    ) -> "Attributes":
        """Return the attributes that both the metadata and the graph of a model have.

        Args:
            metadata: Value of `fracture_edge.modelfile.ModelInfo.attributes`.
            classes: Value of `fracture_edge.modelfile.ModelInfo.classes`.
            outputs: Number of values of each output of the graph for one image, by name.
            remarks: Whether to remark on the body part.

        Raises:
            ModelError: The metadata of an attribute is invalid, or an output has another number of labels.
        """
        by_name = {
            name: Attribute.from_dict(metadata[name]) for name in OUTPUTS if name in metadata and name in outputs
        }
        found = cls(by_name, tuple(map(str, classes)) if CLASSES_NAME in outputs else (), remarks)
        named = {name: attribute.labels for name, attribute in by_name.items()} | {CLASSES_NAME: found.classes}
        for name in found.outputs:
            if outputs[name] != len(named[name]):
                raise ModelError(f"output '{name}' has {outputs[name]} values for {len(named[name])} labels")
        return found

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that `describe` needs."""
        return (*self.by_name, *((CLASSES_NAME,) if self.classes else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the fields that `describe` gives."""
        return tuple(f"{name}{ending}" for name in self.outputs for ending in ENDINGS.get(name, ("",)))

    def describe(self, outputs: Mapping[str, npt.NDArray[np.float32]], header: str) -> Description:
        """Describe an image by the outputs of the model.

        Args:
            outputs: Outputs for this image by name, [1, number of labels] each.
            header: Body part that the DICOM header states, in upper case; empty if it states none.
        """
        columns: dict[str, Any] = {}
        remark = ""
        for name, attribute in self.by_name.items():
            values = outputs[name][0]
            seen = attribute.named(values)
            columns |= {name: JOINED.join(seen) or None, f"{name}_probability": float(values.max())}
            if name == BODY_PART_NAME:
                stated = header_parts(header) & set(attribute.labels)
                code, remark = _remark(seen, stated) if self.remarks else (None, "")
                columns[f"{name}_code"] = code
        if self.classes:
            columns[CLASSES_NAME] = dict(zip(self.classes, map(float, outputs[CLASSES_NAME][0]), strict=True))
        return Description(columns, remark)


def _remark(seen: Sequence[str], stated: Set[str]) -> tuple[BodyPartCode | None, str]:
    """Compare the body parts that the model sees with those that the header allows, none if it says nothing."""
    if not seen:
        return BodyPartCode.UNKNOWN, REMARKS[BodyPartCode.UNKNOWN]
    if stated and stated.isdisjoint(seen):
        words = {"stated": STATED_JOINED.join(sorted(stated)), "seen": SEEN_JOINED.join(seen)}
        return BodyPartCode.CONTRADICTION, REMARKS[BodyPartCode.CONTRADICTION].format(**words)
    return None, ""

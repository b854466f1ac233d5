"""What the page shares with the program: sentences, statuses and constants, as JSON for the JavaScript of `web/`.

Nothing of it is written down a second time there. Sentences are `str.format` templates; `web/src/format.js` fills
them in.
"""

from dataclasses import asdict
from typing import Any

from fracture_edge import attributes
from fracture_edge.attributes import Attributes, BodyPartCode
from fracture_edge.batch import records
from fracture_edge.errors import Status
from fracture_edge.heatmap import CAPTION, COLOURS, LONGEST_SIDE, OPACITY
from fracture_edge.images import (
    aspect,
    colour,
    dicom,
    dicom_frames,
    dicom_pixels,
    formats,
    jpeg_scale,
    levels,
    limits,
    pillow,
)
from fracture_edge.images import sources as files
from fracture_edge.images.image_file import (
    BARE_GROUPS,
    BARE_REPRESENTATIONS,
    DICOM_MAGIC_AT,
    MOST_BARE_ELEMENT,
    MOST_BARE_LENGTH,
    NO_MEMORY,
)
from fracture_edge.images.jpeg_header import FRAMES, LOSSLESS, PROGRESSIVE, TRANSFORMED
from fracture_edge.modelfile import ATYPICALITY_NAME, HEATMAP_NAME, INPUT_NAME, OUTPUT_NAME, ModelInfo
from fracture_edge.policy import FIRST_OF, SENTENCES, Decision, Policy, ReasonCode
from fracture_edge.prediction import COLUMNS
from fracture_edge.suitability import APART, HIGH_PIXELS, UNLIKE_FEATURES, WHITE, WHITE_SHARE, WIDE_PIXELS, Limits
from fracture_edge.suitability import SENTENCES as PROBLEMS

#: Reasons of the refusals that only the page makes, because a browser has fewer decoders than the program.
_NOT_ON_THE_PAGE = "{kind} is not read on this page; `fracture-edge classify` reads it"
#: Transfer syntaxes whose pixels are not compressed (PS3.5, annex A); the page reads these.
_NATIVE = {
    "1.2.840.10008.1.2": "implicit",
    "1.2.840.10008.1.2.1": "explicit",
    "1.2.840.10008.1.2.2": "big-endian",
}


def contract() -> dict[str, Any]:
    """Return what does not depend on the model, as plain values for JSON."""
    return {
        "statuses": {status.name: status.value for status in Status},
        "decisions": {decision.name: decision.value for decision in Decision},
        "sentences": {code.value: text for code, text in (SENTENCES | PROBLEMS).items()}
        | {ReasonCode.UNLIKE_FEATURES.value: UNLIKE_FEATURES},
        "high_pixels": HIGH_PIXELS,
        "wide_pixels": WIDE_PIXELS,
        "first_of": FIRST_OF,
        "refusals": {
            "empty": files.EMPTY,
            "too_large_file": limits.TOO_LARGE_FILE,
            "too_many_pixels": limits.TOO_MANY_PIXELS,
            "too_few_pixels": limits.TOO_FEW_PIXELS,
            "too_much_memory": limits.TOO_MUCH_MEMORY,
            "no_memory": NO_MEMORY,
            "too_many_frames": limits.TOO_MANY_FRAMES,
            "no_image": formats.NO_IMAGE,
            "truncated": pillow.TRUNCATED,
            "broken": pillow.BROKEN,
            "no_pixels": dicom.NO_PIXELS,
            "not_described": dicom.NOT_DESCRIBED,
            "too_few_stored": dicom_frames.TOO_FEW_STORED,
            "unknown_syntax": dicom_frames.UNKNOWN_SYNTAX,
            "unknown_interpretation": dicom_pixels.NOT_SUPPORTED,
            "not_on_the_page": _NOT_ON_THE_PAGE,
        },
        "limits": {
            "max_pixels": limits.MAX_PIXELS,
            "min_side": limits.MIN_SIDE,
            "max_frames": limits.MAX_FRAMES,
            "bytes_per_pixel": limits.BYTES_PER_PIXEL,
            "pillow_bytes": dict(pillow.PILLOW_BYTES),
            "webp_bytes": pillow.WEBP_BYTES,
            "draft_oversampling": jpeg_scale.DRAFT_OVERSAMPLING,
        },
        "formats": {
            "starts": [[start.hex(), name] for start, name in formats.STARTS],
            "others": [[at, start.hex(), name] for at, start, name in formats.OTHERS],
            "heic_brands": [brand.decode() for brand in formats.HEIC_BRANDS],
        },
        "jpeg": {
            "frames": sorted(FRAMES),
            "progressive": sorted(PROGRESSIVE),
            "transformed": sorted(TRANSFORMED),
            "lossless": sorted(LOSSLESS),
        },
        "levels": {
            "gap": levels.GAP,
            "few": levels.FEW,
            "most": levels.MOST,
            "same": levels.SAME,
            "rounds": levels.ROUNDS,
        },
        "colour": {"coloured": colour.COLOURED, "sampled": colour.SAMPLED},
        "aspect": {"rounding": aspect.ROUNDING, "most": aspect.MAX_ASPECT},
        "suitability": {"white_share": WHITE_SHARE, "white": WHITE, "apart": APART},
        "dicom": {
            "native": _NATIVE,
            "magic_at": DICOM_MAGIC_AT,
            "bare_groups": [group[0] for group in BARE_GROUPS],
            "bare_representations": sorted(code.decode() for code in BARE_REPRESENTATIONS),
            "most_bare_element": MOST_BARE_ELEMENT,
            "most_bare_length": MOST_BARE_LENGTH,
        },
        "heatmap": {
            "colours": COLOURS.astype(int).tolist(),
            "opacity": OPACITY,
            "longest_side": LONGEST_SIDE,
            "caption": CAPTION,
        },
        "attributes": {
            "body_part": attributes.BODY_PART_NAME,
            "outputs": list(attributes.OUTPUTS),
            "classes": attributes.CLASSES_NAME,
            "endings": {name: list(endings) for name, endings in attributes.ENDINGS.items()},
            "joined": attributes.JOINED,
            "header_parts": {word: sorted(parts) for word, parts in attributes.HEADER_PARTS.items()},
            "codes": {code.name: code.value for code in BodyPartCode},
            "remarks": {code.value: text for code, text in attributes.REMARKS.items()},
            "stated_joined": attributes.STATED_JOINED,
            "seen_joined": attributes.SEEN_JOINED,
            "with_remark": attributes.WITH_REMARK,
        },
        "csv": {"columns": list(COLUMNS), "formula_starts": list(records.FORMULA_STARTS)},
        "tensors": {
            "input": INPUT_NAME,
            "probability": OUTPUT_NAME,
            "heatmap": HEATMAP_NAME,
            "atypicality": ATYPICALITY_NAME,
        },
    }


def model_record(info: ModelInfo, sha256: str, further: Attributes) -> dict[str, Any]:
    """Return what the page needs of a model's metadata, as plain values for JSON.

    Args:
        info: Metadata of the model.
        sha256: SHA-256 of the model file, hexadecimal.
        further: Further outputs of the model.

    Returns:
        Name, preprocessing, limits, further outputs and policies; the first policy is the default.
    """
    policies = [{"name": "", **asdict(info.policy)}]
    for name in info.operating_points:
        policy = info.policy_named(name)
        images = str(info.operating_points[name].get("images", ""))
        entry = {"name": name, **asdict(policy), "images": images, "measured": _measured(info, name)}
        if policy == info.policy and not policies[0]["name"]:
            policies[0] = entry
        else:
            policies.append(entry)
    return {
        "name": info.full_name,
        "sha256": sha256,
        "preprocessing": info.preprocessing.to_dict(),
        "limits": asdict(Limits.from_dict(info.suitability)),
        "most_atypical": info.typicality.get("threshold"),
        "policies": policies,
        **further_record(further),
        "licence": info.licence,
        "created": info.created,
    }


def further_record(further: Attributes) -> dict[str, Any]:
    """Return what the page needs of a model's further outputs, as plain values for JSON.

    Args:
        further: Further outputs of the model.

    Returns:
        Labels and threshold of each attribute, the classes, and the fields that records get.
    """
    return {
        "attributes": {
            name: {"labels": list(attribute.labels), "threshold": attribute.threshold}
            for name, attribute in further.by_name.items()
        },
        "classes": list(further.classes),
        "columns": list(further.columns),
    }


def _measured(info: ModelInfo, name: str) -> dict[str, float]:
    """Return what an operating point achieved on the images of its fit: numbers from 0 to 1, by name."""
    own = Policy.__dataclass_fields__
    return {
        key: value
        for key, value in info.operating_points[name].items()
        if key not in own and isinstance(value, (int, float))
    }

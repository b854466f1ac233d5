"""Identity of result objects: derived UIDs, and marks by which a result is recognised when it comes back."""

import uuid
from enum import StrEnum
from typing import Any, Final

#: Manufacturer (0008,0070) of every result object.
MANUFACTURER: Final = "fracture-edge"
#: SOP classes of the results (PS3.4 B.5).
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR: Final = "1.2.840.10008.5.1.4.1.1.88.34"
#: Namespace of the derived UIDs; a change would make a repetition add objects instead of replacing them.
_NAMESPACE = uuid.UUID("6d0b1c1e-6f0b-5d07-9d6f-2b9f3c0a7a51")


class Kind(StrEnum):
    """Kind of a result object; its value is the beginning of its file name.

    Attributes:
        CAPTURE: Secondary Capture image with the heat map and the decision.
        REPORT: Comprehensive 3D Structured Report, TID 1500.
    """

    CAPTURE = "SC"
    REPORT = "SR"


def derived_uid(source_uid: str, model_sha256: str, role: str) -> str:
    """Derive a UID below the root 2.25 from a name-based UUID (PS3.5, annex B.2; RFC 9562, version 5).

    Equal arguments give the same UID in every process and on every machine, so that a repeated result replaces
    the first one, while another model adds its own.

    Args:
        source_uid: UID that the new object comes from: of an instance, a series or a model.
        model_sha256: SHA-256 of the model file, hexadecimal.
        role: What the UID is for, for example ``SC``.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{source_uid}|{model_sha256}|{role}').int}"


def is_own_result(header: Any) -> bool:
    """Return whether an object is a result of this program, of any version and model.

    A PACS or router may send results on, also back to the gateway that made them; they must not be classified.

    Args:
        header: Dataset with Manufacturer, or with the other elements that this module writes.
    """
    stated = str(header.get("Manufacturer") or "").strip(" \0").lower()
    return stated == MANUFACTURER and str(header.get("SOPClassUID") or "") in (
        SECONDARY_CAPTURE,
        COMPREHENSIVE_3D_SR,
    )

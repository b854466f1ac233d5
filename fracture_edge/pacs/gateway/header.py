"""Header of a received image: what rules and the spool need, and nothing about the patient."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture_edge.images.dicom import DEFLATED, inflated
from fracture_edge.images.limits import MAX_PIXELS, max_bytes
from fracture_edge.images.quiet import quiet
from fracture_edge.pacs.results.identity import is_own_result
from fracture_edge.pacs.results.source import NoResultError

_DESCRIPTIONS = (
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
)
#: Number of bytes at the beginning of a file in which the gateway has written the transfer syntax.
_META_BYTES = 1024
_UIDS = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID")
_READ = (*_UIDS, "Modality", "BodyPartExamined", "ViewPosition", "Manufacturer", *_DESCRIPTIONS)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of a received image says.

    Attributes:
        modality: Modality, for example ``CR``; this and the following are empty where they are absent.
        body_part: Body part examined, for example ``HAND``.
        view: View position, for example ``AP``.
        descriptions: Descriptions of series, study, protocol and processing; never to be logged.
        is_own: Whether the object is a result of this program.
        sop_instance_uid: SOP Instance UID.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    descriptions: tuple[str, ...] = ("",)
    is_own: bool = False
    sop_instance_uid: str = ""


def read_header(path: Path) -> ImageHeader:
    """Read the header of a DICOM file.

    Raises:
        NoResultError: The header is broken, or lacks a UID without which no result could be filed.
    """
    import pydicom

    try:
        with quiet():
            found = pydicom.dcmread(_source(path), stop_before_pixels=True, specific_tags=list(_READ))
            missing = [keyword for keyword in _UIDS if not _text(found, keyword)]
            header = ImageHeader(
                modality=_text(found, "Modality"),
                body_part=_text(found, "BodyPartExamined"),
                view=_text(found, "ViewPosition"),
                descriptions=tuple(_text(found, keyword) for keyword in _DESCRIPTIONS),
                is_own=is_own_result(found),
                sop_instance_uid=_text(found, "SOPInstanceUID"),
            )
    except Exception as error:
        # Not the message of the error, which may quote the header.
        raise NoResultError(f"the DICOM header is broken ({type(error).__name__})") from None
    if missing:
        raise NoResultError(f"the image has no {missing[0]}, so that no archive could file a result")
    return header


def _source(path: Path) -> Path | io.BytesIO:
    """Return the file, or its inflated content: pydicom would inflate without a limit."""
    with path.open("rb") as stream:
        if DEFLATED not in stream.read(_META_BYTES):
            return path
        stream.seek(0)
        return io.BytesIO(inflated("", stream.read(), max_bytes(MAX_PIXELS)))


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip(" \0")

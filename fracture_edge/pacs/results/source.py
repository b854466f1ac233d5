"""Source image of a result: what its header says about patient, study and place in the study.

The elements about patient and study are copied byte for byte and never interpreted, so that every character set
and every irregular value arrives as it was, and no message can quote them.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.quiet import quiet

#: Elements that are copied into the results, all of them text. Modules: SOP Common, Patient, Clinical Trial
#: Subject, General Study, Patient Study, Clinical Trial Study (PS3.3 C.7.1, C.7.2).
COPIED = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "ResponsiblePerson",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialTimePointID",
)
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_READ = (*COPIED, *_UIDS, "InstanceNumber", "BurnedInAnnotation", "Laterality")
#: Values of DICOM UIDs consist of these characters (PS3.5, section 9.1).
_UID_CHARACTERS = frozenset("0123456789.")
_LONGEST_UID = 64
#: Integer strings go up to this number (PS3.5, section 6.2).
_LARGEST_NUMBER = 2**31 - 1


class NoResultError(FractureEdgeError):
    """No result object can be made for an image; the message says why, without values of the header."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """What the results take over from the header of their source.

    Attributes:
        sop_class_uid: SOP class of the image.
        sop_instance_uid: SOP Instance UID of the image.
        series_instance_uid: UID of its series; empty if it states none.
        study_instance_uid: UID of its study.
        instance_number: Number of the image in its series, 1 if it states none.
        burned_in_annotation: ``YES`` or ``NO`` as the image states it; empty if it states neither.
        copied: Values of the elements `COPIED` that the image has, by keyword, as bytes.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    instance_number: int
    burned_in_annotation: str
    copied: Mapping[str, bytes]


def read_source(data: bytes) -> SourceImage:
    """Read the header of a source image.

    Args:
        data: Content of a DICOM file.

    Raises:
        NoResultError: The header is broken, or lacks a UID without which no archive can file a result.
    """
    import pydicom

    try:
        with quiet():
            header = pydicom.dcmread(
                io.BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(_READ)
            )
            raw = {keyword: _bytes_of(header, keyword) for keyword in _READ}
    except Exception as error:
        # Not the message of the error, which may quote the header.
        raise NoResultError(f"the DICOM header is broken ({type(error).__name__})") from None
    uids = {keyword: _text(raw[keyword]) for keyword in _UIDS}
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not uids[keyword]:
            raise NoResultError(f"the image has no {keyword}, so that no archive could file a result")
    for keyword, uid in uids.items():
        if len(uid) > _LONGEST_UID or not _UID_CHARACTERS.issuperset(uid):
            raise NoResultError(f"the {keyword} of the image is not a UID")
    number, annotation = _text(raw["InstanceNumber"]), _text(raw["BurnedInAnnotation"]).upper()
    return SourceImage(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        instance_number=min(max(1, int(number)), _LARGEST_NUMBER) if number.isdecimal() else 1,
        burned_in_annotation=annotation if annotation in ("YES", "NO") else "",
        copied={keyword: value for keyword in COPIED if (value := raw[keyword]) is not None},
    )


def copy_patient_and_study(source: SourceImage, target: Any) -> None:
    """Copy the elements about patient and study into a dataset, in place of what it has there.

    Args:
        source: Source image.
        target: pydicom dataset of the result, which is written in explicit VR and little endian.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    for keyword, value in source.copied.items():
        tag = Tag(tag_for_keyword(keyword) or 0)
        # As raw bytes, which are written as they are. All of these elements are text, without a byte order.
        target[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    # Or pydicom would decode and encode every element again when it writes them.
    target.set_original_encoding(False, True, target._character_set)


def _bytes_of(header: Any, keyword: str) -> bytes | None:
    """Return the value of an element as it is in the file, padded to an even length; ``None`` if it is absent."""
    if keyword not in header:
        return None
    value = header.get_item(keyword).value
    if value is None:
        return b""
    if not isinstance(value, bytes):
        # pydicom converts the character set while it reads; it is ASCII.
        value = "\\".join([value] if isinstance(value, str) else map(str, value)).encode("ascii")
    return value + (b"\0" if keyword.endswith("UID") else b" ") * (len(value) % 2)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").strip(" \0")

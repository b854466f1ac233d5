"""Codes of the report: from DICOM and SNOMED CT where they exist, from a private scheme elsewhere."""

from typing import Any, Final

from fracture_edge.policy import Decision, ReasonCode

#: Private coding scheme (PS3.3, section 8.2: private designators begin with 99).
SCHEME: Final = "99FRACTUREEDGE"
SCHEME_NAME: Final = "fracture-edge, docs/pacs.md"

#: Code value, scheme and meaning. DICOM: PS3.16, annex D; the fracture: SNOMED CT.
PROBABILITY: Final = ("122157", "DCM", "Probability")
THRESHOLD: Final = ("122411", "DCM", "Threshold Value")
COMMENT: Final = ("121106", "DCM", "Comment")
FRACTURE: Final = ("125605004", "SCT", "Fracture of bone")
PLAIN_RADIOGRAPHY: Final = ("168537006", "SCT", "Plain radiography")
NO_UNITS: Final = ("1", "UCUM", "no units")
REASON: Final = ("reason", SCHEME, "Reason for the decision")
_PRESENCE: Final = {
    Decision.FRACTURED: ("121053", "DCM", "Present"),
    Decision.NOT_FRACTURED: ("121054", "DCM", "Absent"),
    Decision.UNCERTAIN: ("121059", "DCM", "Presence Undetermined"),
}
Code = tuple[str, str, str]


def presence(decision: Decision) -> Code:
    """Return the code of a decision: the fracture is present, absent or undetermined."""
    return _PRESENCE[decision]


def reason(code: ReasonCode) -> Code:
    """Return the code of the reason for a decision; its value is that of `ReasonCode`."""
    return str(code), SCHEME, str(code).replace("_", " ").capitalize()


def concept(code: Code) -> Any:
    """Return a code as highdicom's `CodedConcept`."""
    from highdicom.sr import CodedConcept

    return CodedConcept(*code)

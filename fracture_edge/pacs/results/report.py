"""Structured Report of a result: TID 1500, "Measurement Report", as Comprehensive 3D SR (PS3.16; IHE AIR)."""

from collections.abc import Sequence
from typing import Any

from fracture_edge._version import __version__
from fracture_edge.modelfile import ModelInfo
from fracture_edge.pacs.results import codes
from fracture_edge.pacs.results.capture import SERIES_DESCRIPTION, SERIES_NUMBER, series_uid
from fracture_edge.pacs.results.codes import concept
from fracture_edge.pacs.results.identity import MANUFACTURER, Kind, derived_uid
from fracture_edge.pacs.results.source import SourceImage, copy_patient_and_study
from fracture_edge.policy import Policy
from fracture_edge.prediction import Prediction

DISCLAIMER = "For research and education. Not a medical device."


def structured_report(
    source: SourceImage, predictions: Sequence[Prediction], info: ModelInfo, policy: Policy, model_sha256: str
) -> Any:
    """Make the report of one image; one measurement group for each frame that has a decision.

    Args:
        source: Source image.
        predictions: Predictions of its frames, in order; those without a decision are left out.
        info: Metadata of the model.
        policy: Operating point that the decisions were made with.
        model_sha256: SHA-256 of the model file.

    Returns:
        pydicom dataset, in explicit VR and little endian.
    """
    from highdicom import sr
    from pydicom.uid import ExplicitVRLittleEndian

    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(model_sha256, model_sha256, "observer"),
        name=info.full_name,
        manufacturer_name=MANUFACTURER,
        model_name=info.full_name,
    )
    device = sr.ObserverContext(observer_type=_device(), observer_identifying_attributes=observer)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=concept(codes.PLAIN_RADIOGRAPHY),
        imaging_measurements=[
            _group(source, prediction, info, policy, model_sha256) for prediction in predictions if prediction.ok
        ],
    )
    document = sr.Comprehensive3DSR(
        evidence=[_stand_in(source)],
        content=_outline(report[0]),
        series_instance_uid=series_uid(source, model_sha256, Kind.REPORT),
        series_number=SERIES_NUMBER + 1,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=derived_uid(source.sop_instance_uid, model_sha256, Kind.REPORT),
        instance_number=source.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=info.full_name[:64],
        software_versions=__version__,
        is_complete=True,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[_scheme()],
    )
    document.ContentSequence = report[0].ContentSequence
    copy_patient_and_study(source, document)
    return document


def _outline(content: Any) -> Any:
    """Return the root of a content tree without its items: highdicom copies and searches whatever it gets."""
    from pydicom.dataset import Dataset

    outline = Dataset()
    outline.update({element.tag: element for element in content if element.keyword != "ContentSequence"})
    outline.ContentSequence = []
    return outline


def _group(source: SourceImage, prediction: Prediction, info: ModelInfo, policy: Policy, model_sha256: str) -> Any:
    """Make the measurement group of one frame (TID 1501)."""
    from highdicom import sr

    if prediction.decision is None or prediction.probability is None or prediction.reason_code is None:
        raise ValueError("the prediction has no decision")
    units = concept(codes.NO_UNITS)
    several = prediction.frames > 1
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derived_uid(source.sop_instance_uid, model_sha256, f"finding of frame {prediction.frame}"),
            identifier=f"fracture, frame {prediction.frame}" if several else "fracture",
        ),
        finding_type=concept(codes.FRACTURE),
        algorithm_id=sr.AlgorithmIdentification(
            name=info.name,
            # Type 1: models may have no version, but each has its SHA-256.
            version=info.version or f"SHA-256 {model_sha256[:12]}",
            parameters=[
                f"model SHA-256 {model_sha256}",
                f"uncertain band {policy.uncertain_low!r} to {policy.uncertain_high!r}",
                f"fracture-edge {__version__}",
            ],
            manufacturer=MANUFACTURER,
        ),
        measurements=[
            sr.Measurement(name=concept(codes.PROBABILITY), value=prediction.probability, unit=units),
            sr.Measurement(name=concept(codes.THRESHOLD), value=float(policy.threshold), unit=units),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(concept(codes.FRACTURE), concept(codes.presence(prediction.decision))),
            sr.QualitativeEvaluation(concept(codes.REASON), concept(codes.reason(prediction.reason_code))),
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                source.sop_class_uid, source.sop_instance_uid, [prediction.frame] if several else None
            )
        ],
    )
    # highdicom has no argument for the comment of a measurement group (TID 1501).
    comment = (
        f"{prediction.decision}, P(fractured) = {prediction.probability:.3f} (threshold {policy.threshold:.3f}; "
        f"{prediction.reason}). {DISCLAIMER}"
    )
    group[0].ContentSequence.append(
        sr.TextContentItem(concept(codes.COMMENT), comment, sr.RelationshipTypeValues.CONTAINS)
    )
    return group


def _stand_in(source: SourceImage) -> Any:
    """Return a dataset with the UIDs of the source and nobody's name, because highdicom logs names."""
    from pydicom.dataset import Dataset

    evidence = Dataset()
    evidence.SOPClassUID, evidence.SOPInstanceUID = source.sop_class_uid, source.sop_instance_uid
    evidence.StudyInstanceUID = source.study_instance_uid
    evidence.SeriesInstanceUID = source.series_instance_uid or source.sop_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(evidence, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(evidence, keyword, None)
    return evidence


def _device() -> Any:
    from pydicom.sr.codedict import codes as dictionary

    return dictionary.DCM.Device


def _scheme() -> Any:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME, name=codes.SCHEME_NAME, responsible_organization=MANUFACTURER
    )

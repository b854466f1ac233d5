"""Secondary Capture image of a result (PS3.3, section A.8.1)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge._version import __version__
from fracture_edge.modelfile import ModelInfo
from fracture_edge.pacs.results.identity import MANUFACTURER, Kind, derived_uid
from fracture_edge.pacs.results.source import SourceImage, copy_patient_and_study

SERIES_NUMBER = 9701
SERIES_DESCRIPTION = "fracture-edge, research only"


def secondary_capture(
    source: SourceImage, pixels: npt.NDArray[np.uint8], frame: int | None, info: ModelInfo, model_sha256: str
) -> Any:
    """Make the Secondary Capture of a result.

    Args:
        source: Source image.
        pixels: RGB picture, uint8 [H, W, 3].
        frame: Number of the frame that it shows, from 1; ``None`` if the source has only one.
        info: Metadata of the model.
        model_sha256: SHA-256 of the model file.

    Returns:
        pydicom dataset, in explicit VR and little endian.
    """
    from highdicom.sc import SCImage
    from pydicom.dataset import Dataset

    capture = SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # Of a projection that may be rotated; unknown, see below.
        patient_orientation=("L", "F"),
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=series_uid(source, model_sha256, Kind.CAPTURE),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=derived_uid(source.sop_instance_uid, model_sha256, Kind.CAPTURE),
        instance_number=source.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=info.full_name[:64],
        software_versions=__version__,
    )
    # pydicom leaves the choice of bytes or words open.
    capture["PixelData"].VR = "OB"
    # Both may be empty where they are not known (type 2C).
    capture.PatientOrientation = None
    capture.Laterality = None
    # The picture adds nothing that identifies anybody to what is burnt into the source.
    if source.burned_in_annotation:
        capture.BurnedInAnnotation = source.burned_in_annotation
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class_uid
    reference.ReferencedSOPInstanceUID = source.sop_instance_uid
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    capture.SourceImageSequence = [reference]
    capture.DerivationDescription = "Heat map of a fracture classifier over the image; for research only"
    copy_patient_and_study(source, capture)
    return capture


def series_uid(source: SourceImage, model_sha256: str, kind: Kind) -> str:
    """Derive the UID of the series of results: one for each series of sources, model and kind."""
    return derived_uid(source.series_instance_uid or source.sop_instance_uid, model_sha256, f"series of {kind}")

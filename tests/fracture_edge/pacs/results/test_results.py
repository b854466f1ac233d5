"""Result objects say what was predicted, in the patient's own study, and nothing else about the patient."""

import dataclasses
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracture_edge.classifier import FractureClassifier
from fracture_edge.heatmap import overlay, true_picture
from fracture_edge.images.image_file import load_image

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from fracture_edge.images.image_file import Picture  # noqa: E402
from fracture_edge.pacs.results.identity import Kind, derived_uid, is_own_result  # noqa: E402
from fracture_edge.pacs.results.make import ResultMaker, ResultObject  # noqa: E402
from fracture_edge.pacs.results.picture import result_picture  # noqa: E402
from fracture_edge.pacs.results.source import NoResultError, read_source  # noqa: E402

Write = Callable[..., Path]
UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")
IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99", ".5"))


@pytest.fixture(scope="module")
def classifier() -> FractureClassifier:
    """The embedded model, which has a heat map."""
    return FractureClassifier()


@pytest.fixture(scope="module")
def maker(classifier: FractureClassifier) -> ResultMaker:
    return ResultMaker(classifier)


def made(maker: ResultMaker, classifier: FractureClassifier, path: Path) -> tuple[Any, Any]:
    """Return capture and report of a file as datasets."""
    results = maker.make(path, list(classifier.predict_frames(path)))
    assert [result.name[:3] for result in results] == ["SC-", "SR-"]
    capture, report = (pydicom.dcmread(io.BytesIO(result.content)) for result in results)
    for result, dataset in zip(results, (capture, report), strict=True):
        assert result.name[3:] == f"{dataset.SOPInstanceUID}.dcm"
    return capture, report


def items(report: Any, name: str) -> list[Any]:
    """Return the content items of a report whose concept name has this code value, in order."""
    found = []

    def search(nodes: Sequence[Any]) -> None:
        for node in nodes:
            if "ConceptNameCodeSequence" in node and node.ConceptNameCodeSequence[0].CodeValue == name:
                found.append(node)
            search(node.get("ContentSequence") or ())

    search(report.ContentSequence)
    return found


def number(item: Any) -> float:
    value: float = item.MeasuredValueSequence[0].FloatingPointValue
    return value


def test_report_holds_the_prediction(
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(3, True))
    (prediction,) = classifier.predict_frames(path)
    _, report = made(maker, classifier, path)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    # Exactly, as 64-bit floating-point numbers beside the decimal strings of 16 characters.
    assert [number(item) for item in items(report, "122157")] == [prediction.probability]
    assert [number(item) for item in items(report, "122411")] == [classifier.policy.threshold]
    assert float(items(report, "122157")[0].MeasuredValueSequence[0].NumericValue) == pytest.approx(
        prediction.probability, abs=1e-13
    )
    expected = {"fractured": "121053", "not_fractured": "121054", "uncertain": "121059"}
    (finding,) = (item for item in items(report, "125605004") if item.ValueType == "CODE")
    assert finding.ConceptCodeSequence[0].CodeValue == expected[prediction.decision or ""]
    assert items(report, "reason")[0].ConceptCodeSequence[0].CodeValue == prediction.reason_code
    assert items(report, "reason")[0].ConceptCodeSequence[0].CodingSchemeDesignator == "99FRACTUREEDGE"
    (comment,) = items(report, "121106")
    assert prediction.reason in comment.TextValue
    assert "Not a medical device" in comment.TextValue
    assert items(report, "111001")[0].TextValue == classifier.info.name
    assert items(report, "111003")[0].TextValue == (classifier.info.version or f"SHA-256 {classifier.sha256[:12]}")
    assert f"model SHA-256 {classifier.sha256}" in [item.TextValue for item in items(report, "111002")]
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == UIDS[0]
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == UIDS[1]
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == UIDS[2]


def test_capture_shows_the_overlay(
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(3, True, height=900, width=700), BurnedInAnnotation="YES")
    grey = load_image(path)
    (prediction,) = classifier.predict_frames(path)
    assert prediction.heatmap is not None
    capture, _ = made(maker, classifier, path)
    shown = np.asarray(overlay(grey, prediction.heatmap, classifier.info.preprocessing))
    np.testing.assert_array_equal(capture.pixel_array[: shown.shape[0], : shown.shape[1]], shown)
    panel = capture.pixel_array[shown.shape[0] :]
    # The text is white on black, and the uncertain band is in a colour of its own.
    assert (panel == 255).all(axis=-1).mean() > 0.01
    assert (panel == (170, 140, 40)).all(axis=-1).any()
    assert capture.BurnedInAnnotation == "YES"
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == UIDS[2]
    assert "ReferencedFrameNumber" not in capture.SourceImageSequence[0]
    assert (capture.Modality, capture.InstanceNumber) == ("OT", 7)


def test_capture_without_a_heat_map_shows_the_image(
    tiny_model: Path, write_radiograph: Write, tmp_path: Path
) -> None:
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    path = write_radiograph(tmp_path / "x.dcm", grey)
    tiny = FractureClassifier(tiny_model)
    capture, _ = made(ResultMaker(tiny), tiny, path)
    np.testing.assert_array_equal(capture.pixel_array[:64, :64], np.repeat(grey[..., np.newaxis], 3, axis=2))
    assert capture.Columns == 512
    assert not capture.pixel_array[:64, 64:].any()


def test_picture_takes_no_words_from_the_header(classifier: FractureClassifier, bone: Callable[..., Any]) -> None:
    grey = bone(1, False)
    prediction = classifier.predict(grey)
    first, second = (
        result_picture(picture, prediction, classifier.info.preprocessing, classifier.policy)
        for picture in (Picture(grey), Picture(grey, body_part="OTHER WORDS"))
    )
    np.testing.assert_array_equal(first, second)
    # `Picture` has no other words.
    assert Picture._fields == ("pixels", "frame", "frames", "colour", "aspect", "body_part")
    assert true_picture(grey, 0.5)[0].size == (2 * grey.shape[1] * 3 // 4, grey.shape[0] * 3 // 4)


def test_text_stays_within_the_picture(classifier: FractureClassifier) -> None:
    long = dataclasses.replace(
        classifier.predict(np.zeros((64, 64), np.uint8)),
        frame=123,
        frames=1000,
        reason="a reason with many words " * 8,
        model="a model with a long name, from somewhere, of some version, for a body part",
    )
    found = result_picture(
        Picture(np.zeros((64, 64), np.uint8)), long, classifier.info.preprocessing, classifier.policy
    )
    # A margin of 14 pixels, one of which the edge of a letter may take; so does the triangle at P = 0.
    assert not found[-200:, -13:].any()
    assert found[-200:].any()


def test_of_several_frames_the_report_has_each_and_the_capture_the_highest(
    tiny_model: Path, write_radiograph: Write, tmp_path: Path
) -> None:
    # P rises with the mean, logit -4 + mean / 32: of a quarter, three quarters and a half white.
    frames = np.zeros((3, 64, 64), np.uint8)
    for frame, rows in zip(frames, (16, 48, 32), strict=True):
        frame[:rows] = 255
    path = write_radiograph(tmp_path / "x.dcm", frames, modality="OT")
    tiny = FractureClassifier(tiny_model)
    capture, report = made(ResultMaker(tiny), tiny, path)
    found = [number(item) for item in items(report, "122157")]
    assert found == pytest.approx(
        [1 / (1 + np.exp(4 - 255 * share / 32)) for share in (0.25, 0.75, 0.5)], abs=1e-6
    )
    references = [
        node.ReferencedSOPSequence[0].ReferencedFrameNumber
        for group in items(report, "125007")
        for node in group.ContentSequence
        if node.ValueType == "IMAGE"
    ]
    assert references == [1, 2, 3]
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 2
    assert capture.pixel_array[:64, :64, 0].mean() == 0.75 * 255


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE])
@pytest.mark.parametrize(
    ("charset", "patient"),
    [
        (b"ISO_IR 100", "Müller^Jörg".encode("latin-1")),
        (b"ISO_IR 192", "Παπαδόπουλος^Γιώργος".encode()),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"ISO_IR 999", b"\xff\xfe\x80 no caret, no such character set"),
    ],
)
def test_patient_and_study_are_copied_byte_for_byte(
    charset: bytes,
    patient: bytes,
    syntax: str,
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(1, False), charset=charset, patient=patient, syntax=syntax)
    results = maker.make(path, list(classifier.predict_frames(path)))
    for result in results:
        for tag, kind, value in ((b"\x08\0\x05\0", b"CS", charset), (b"\x10\0\x10\0", b"PN", patient)):
            padded = value + b" " * (len(value) % 2)
            assert tag + kind + len(padded).to_bytes(2, "little") + padded in result.content
        dataset = pydicom.dcmread(io.BytesIO(result.content))
        assert (dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex) == ("ID-4711", "19700101", "F")
        assert (dataset.StudyInstanceUID, dataset.AccessionNumber, dataset.StudyID) == (UIDS[0], "A1", "S1")
        assert (dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName) == (
            "20260101",
            "120000",
            "Doe^John",
        )
        assert "4711" not in result.name
    assert capfd.readouterr() == ("", "")


def test_uids_are_derived_from_source_model_and_kind(
    maker: ResultMaker,
    classifier: FractureClassifier,
    tiny_model: Path,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(1, False))

    def uids(by: FractureClassifier, at: Path) -> list[tuple[str, str]]:
        maker = ResultMaker(by)
        return [(found.SOPInstanceUID, found.SeriesInstanceUID) for found in made(maker, by, at)]

    first = uids(classifier, path)
    assert uids(classifier, path) == first
    # Two objects, two series, apart from the source's.
    assert len({*sum(first, ()), *UIDS}) == 7
    assert not set(sum(uids(FractureClassifier(tiny_model), path), ())) & set(sum(first, ()))
    other = write_radiograph(tmp_path / "y.dcm", bone(1, False), uids=(*UIDS[:2], "1.2.3.4"))
    # Another image of the same series: other objects in the same series of results.
    assert [mine[1] == theirs[1] for mine, theirs in zip(uids(classifier, other), first, strict=True)] == [
        True
    ] * 2
    assert not {mine[0] for mine in uids(classifier, other)} & {theirs[0] for theirs in first}


def test_derived_uids_do_not_change_between_versions() -> None:
    # Computed once; a change would add results to archives instead of replacing them.
    assert derived_uid("1.2.3.3", "ab" * 32, Kind.CAPTURE) == "2.25.26752542130017220429093676722413119108"
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{,38}", derived_uid(str(n), "", Kind.REPORT)) for n in range(100))


def test_own_results_are_recognised(
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(1, False), Manufacturer="ACME")
    assert [is_own_result(found) for found in made(maker, classifier, path)] == [True, True]
    assert not is_own_result(pydicom.dcmread(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"StudyInstanceUID": None}, "the image has no StudyInstanceUID"),
        ({"SOPInstanceUID": None}, "the image has no SOPInstanceUID"),
        ({"StudyInstanceUID": "Roe^Jane"}, "the StudyInstanceUID of the image is not a UID"),
    ],
)
def test_an_image_that_cannot_be_filed_has_no_result(
    changes: dict[str, Any],
    message: str,
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    tmp_path: Path,
    write_radiograph: Write,
) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(1, False))
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            dataset[keyword] = pydicom.DataElement(keyword, "UI", value, validation_mode=0)
    dataset.save_as(path, enforce_file_format=False)
    with pytest.raises(NoResultError, match=message) as caught:
        maker.make(path, list(classifier.predict_frames(path)))
    assert "Roe" not in str(caught.value)


def test_irregular_elements_do_no_harm(write_radiograph: Write, bone: Callable[..., Any], tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "x.dcm", bone(1, False))
    data = path.read_bytes()
    for tag, right, wrong in ((b"\x20\0\x13\0IS", b"7 ", b"x "), (b"\x10\0\x30\0DA", b"19700101", b"unknown ")):
        before, after = (tag + len(value).to_bytes(2, "little") + value for value in (right, wrong))
        assert data.count(before) == 1
        data = data.replace(before, after)
    source = read_source(data)
    assert (source.instance_number, source.copied["PatientBirthDate"]) == (1, b"unknown ")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
@pytest.mark.parametrize("modality", ["CR", "DX", "RF", "OT"])
def test_validator_finds_no_error(
    modality: str,
    maker: ResultMaker,
    classifier: FractureClassifier,
    bone: Callable[..., Any],
    write_radiograph: Write,
    tmp_path: Path,
) -> None:
    pixels = np.stack([bone(n, True) for n in range(3)]) if modality == "OT" else bone(3, True)
    path = write_radiograph(tmp_path / "x.dcm", pixels, modality=modality)
    results: list[ResultObject] = maker.make(path, list(classifier.predict_frames(path)))
    for result, iod in zip(results, ("SCImage", "Comprehensive3DSR"), strict=True):
        written = tmp_path / result.name
        written.write_bytes(result.content)
        done = subprocess.run(["dciodvfy", written], capture_output=True, check=False)
        told = (done.stdout + done.stderr).decode("latin-1")
        assert iod in told
        assert [line for line in told.splitlines() if line.startswith("Error")] == []

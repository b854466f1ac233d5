"""Benchmarks of the hot paths with pytest-benchmark: ``pytest benchmarks``. They are not part of the test suite.

To detect a regression, save the timings before a change and compare after it, on the same idle machine::

    pytest benchmarks --benchmark-autosave
    pytest benchmarks --benchmark-compare --benchmark-compare-fail=median:10%

The first command saves them in ``.benchmarks/``; the second fails if a median is more than 10 % above the last
saved one. ``-k decode`` selects some of them, ``--benchmark-histogram`` plots them.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.classifier import FractureClassifier
from fracture_edge.images.image_file import load_image

pytest.importorskip("pytest_benchmark", reason="pip install 'fracture-edge[benchmark]'")
from pytest_benchmark.fixture import BenchmarkFixture

#: Height and width of a detector's images, in pixels; FracAtlas's images are a quarter of that.
SIZE = (1536, 1280)


def _radiograph() -> npt.NDArray[np.uint8]:
    """Generate a smooth bone with the noise of a detector."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    bone = 200 * np.exp(-(((columns - SIZE[1] / 2 - rows / 10) / 200) ** 2))
    noise = np.random.default_rng(0).normal(0, 4, SIZE)
    return np.clip(bone + 20 + noise, 0, 255).astype(np.uint8)


def _dicom(pixels: npt.NDArray[np.uint8]) -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="pip install 'fracture-edge[dicom]'")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _picture(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier() -> FractureClassifier:
    """Return the embedded model on one thread."""
    return FractureClassifier(threads=1)


@pytest.fixture(scope="module")
def encoded() -> Callable[[str], bytes]:
    """Return a function that encodes the radiograph in a format, given by its suffix."""

    def encode(kind: str) -> bytes:
        return _dicom(_radiograph()) if kind == "dcm" else _picture(_radiograph(), kind)

    return encode


@pytest.mark.parametrize("kind", ["jpeg", "png", "dcm"])
def test_decode(benchmark: BenchmarkFixture, encoded: Callable[[str], bytes], kind: str) -> None:
    """Time decoding, from bytes to grey levels in full size."""
    assert benchmark(load_image, encoded(kind)).shape == SIZE


def test_preprocess(benchmark: BenchmarkFixture, classifier: FractureClassifier) -> None:
    """Time preprocessing, from grey levels in full size to the model's input."""
    size = classifier.info.preprocessing
    assert benchmark(size, _radiograph()).shape == (size.height, size.width, 1)


def test_inference(benchmark: BenchmarkFixture, classifier: FractureClassifier) -> None:
    """Time inference, from the model's input to a probability."""
    pixels = classifier.info.preprocessing(_radiograph())[np.newaxis]
    assert 0 <= benchmark(classifier.probabilities, pixels)[0] <= 1


@pytest.mark.parametrize("kind", ["jpeg", "png", "dcm"])
def test_classify(
    benchmark: BenchmarkFixture,
    classifier: FractureClassifier,
    encoded: Callable[[str], bytes],
    kind: str,
    tmp_path: Path,
) -> None:
    """Time classification, from a file in the page cache to a decision.

    JPEG is decoded at a reduced scale here, unlike in `test_decode`.
    """
    path = tmp_path / f"radiograph.{kind}"
    path.write_bytes(encoded(kind))
    assert benchmark(classifier.predict, path).ok

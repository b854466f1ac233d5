"""Programs that `classify` is compared with: `python -m benchmarks.studies.scale.workers NAME < LIST`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType


def predict_many(files: Sequence[Path]) -> int:
    """Classify files through the Python interface, and return how many could be read."""
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.runtimes.threads import default_jobs

    return sum(answer.ok for answer in FractureClassifier(threads=1).predict_many(files, jobs=default_jobs()))


def plain_loop(files: Sequence[Path]) -> int:
    """Run the embedded model on files with nothing but Pillow and onnxruntime, and return how many could be read.

    It lacks what makes an answer: checks of the image, letterbox, decision, records.
    """
    import numpy as np
    import onnxruntime as ort
    from PIL import Image

    from fracture_edge.images.jpeg_scale import DRAFT_OVERSAMPLING
    from fracture_edge.models import EMBEDDED_FILE

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(EMBEDDED_FILE.read_bytes(), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    _, height, width, _ = entry.shape
    answers = 0
    for file in files:
        try:
            with Image.open(file) as image:
                image.draft("L", (width * DRAFT_OVERSAMPLING, height * DRAFT_OVERSAMPLING))
                grey = image.convert("L").resize((width, height), Image.Resampling.BICUBIC)
        except OSError:
            continue
        session.run(None, {entry.name: np.asarray(grey)[np.newaxis, ..., np.newaxis]})
        answers += 1
    return answers


WORKERS: Mapping[str, Callable[[Sequence[Path]], int]] = MappingProxyType(
    {"predict_many": predict_many, "plain_loop": plain_loop}
)


def main() -> None:
    """Run the worker that the command line names on the files that stdin lists."""
    from fracture_edge.batch.inputs import read_list

    print(WORKERS[sys.argv[1]](list(read_list(sys.stdin.buffer))))


if __name__ == "__main__":
    main()

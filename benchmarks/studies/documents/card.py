"""YAML header of the embedded model's card, made from the benchmark of the embedded model."""

import re

from benchmarks.studies.documents.results import EMBEDDED_ROW, EMBEDDED_RUN, ROOT, quality_of, read_run, row_of
from fracture_edge.classifier import FractureClassifier
from fracture_edge.models.card import METRICS, CardHeader, Evaluation, Metric

CARD = ROOT / "fracture_edge" / "models" / "README.md"
_LICENCE, _DATASET, _BASE_MODEL = "apache-2.0", "fracatlas", "efficientnet-lite0"


def header() -> CardHeader:
    """Make the header from the results on the test split."""
    run = read_run(EMBEDDED_RUN)
    data, quality = run.data, quality_of(run, EMBEDDED_ROW)
    info = FractureClassifier(threads=1).info
    evaluation = Evaluation(
        dataset=f"FracAtlas, {data.split} split grouped by neighbourhood and near-identity",
        dataset_type=_DATASET,
        split=data.split,
        details={
            "images": data.images,
            "fractured": data.fractured,
            "groups": data.groups,
            "data_fingerprint": data.fingerprint,
            # Later files with the same probabilities may carry other operating points and outputs.
            "measured_model_sha256": row_of(run, EMBEDDED_ROW).sha256 or "",
        },
        metrics=[
            Metric(name, found.value, (found.low, found.high))
            for name in METRICS
            if (found := quality.metrics.get(name)) is not None
        ],
    )
    return CardHeader(
        name=info.full_name,
        licence=_LICENCE,
        tags=("onnx", info.precision),
        datasets=(_DATASET,),
        base_model=_BASE_MODEL,
        evaluations=(evaluation,),
    )


def with_header(text: str) -> str:
    """Put the header before the text of the card, in place of the one that is there."""
    return header().text() + re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)

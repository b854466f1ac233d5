"""The header of the embedded model's card: every number is that of the benchmark, as huggingface_hub reads it."""

import json

import pytest

from benchmarks.studies.documents.card import CARD, header, with_header
from benchmarks.studies.documents.results import RESULTS


def test_the_card_is_current() -> None:
    text = CARD.read_text(encoding="utf-8")
    assert text.startswith(header().text())
    assert with_header(text) == text


def test_a_header_is_replaced_and_added() -> None:
    body = "\n# Title\n\n---\n\nrule\n"
    assert with_header(body) == header().text() + body
    assert with_header("---\nlicense: x\n---\n" + body) == header().text() + body


def test_every_number_is_that_of_the_benchmark() -> None:
    hub = pytest.importorskip("huggingface_hub")
    run = json.loads((RESULTS / "embedded.json").read_text())
    (row,) = (row for row in run["rows"] if row["id"] == "embedded/onnx int8")
    names = {"roc_auc": "auroc"}
    found = hub.ModelCard.load(CARD).data.eval_results
    assert len(found) == 9
    for each in found:
        wanted = row["quality"]["metrics"][names.get(each.metric_type, each.metric_type)]
        assert each.metric_value == round(wanted["value"], 4)
        assert each.metric_args == {"low_95": round(wanted["low"], 4), "high_95": round(wanted["high"], 4)}
        assert each.dataset_args == {
            "images": run["data"]["images"],
            "fractured": run["data"]["fractured"],
            "groups": run["data"]["groups"],
            "data_fingerprint": run["data"]["fingerprint"],
            "measured_model_sha256": row["sha256"],
        }

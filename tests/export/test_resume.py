"""Which files `export --resume` keeps: those that the same options would make again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from export.gate import GATE_VERSION
from export.options import ExportOptions
from export.recipes import FORMATS, LADDER, Budget
from export.run import _same_settings
from train.export_record import CalibrationImages, ExportEntry, Retraining

OPTIONS = ExportOptions(budgets={"int8": Budget()})


@pytest.mark.parametrize(
    ("changed", "options", "kept"),
    [
        ({}, {}, True),
        ({"gate_version": 1}, {}, False),
        ({"heatmap": True}, {}, False),
        ({}, {"seed": 1}, False),
        ({}, {"ladder": LADDER[:1]}, False),
        ({}, {"budgets": {"int8": Budget(same_decision=1.1)}}, False),
        ({"broken": ["same_decision 0.9, bound 0.97"]}, {}, False),
        ({"retrained": Retraining(3, 0)}, {}, True),
        ({"retrained": Retraining(2, 0)}, {}, False),
    ],
)
def test_a_file_is_kept_if_its_settings_are_the_same(
    changed: dict[str, Any], options: dict[str, Any], kept: bool, make_export_entry: Callable[..., ExportEntry]
) -> None:
    entry = make_export_entry(
        budget="int8", heatmap=False, broken=[], rung="percentile", gate_version=GATE_VERSION,
        calibration=CalibrationImages(256, 0, "f", "percentile"),
    )  # fmt: skip
    chosen = FORMATS["onnx_int8_static_x86"]
    assert _same_settings(replace(entry, **changed), chosen, replace(OPTIONS, **options)) is kept

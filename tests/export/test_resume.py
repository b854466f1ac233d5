"""Which files `export --resume` keeps: those that the same options would make again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from export.gate import GATE_VERSION
from export.options import ExportOptions
from export.recipes import CONVERSION_VERSION, FORMATS, LADDER, Budget
from export.resume import same_settings
from train.export_record import CalibrationImages, ExportEntry, Retraining

OPTIONS = ExportOptions(budgets={"int8": Budget()})
NOW: dict[str, Any] = {"gate_version": GATE_VERSION, "conversion_version": CONVERSION_VERSION}


@pytest.mark.parametrize(
    ("changed", "options", "kept"),
    [
        ({}, {}, True),
        ({"gate_version": 1}, {}, False),
        ({"conversion_version": 1}, {}, False),
        ({"heatmap": True}, {}, False),
        ({}, {"seed": 1}, False),
        ({}, {"ladder": LADDER[:1]}, False),
        ({}, {"budgets": {"int8": Budget(same_decision=1.1)}}, False),
        ({"broken": ["same_decision 0.9, bound 0.97"]}, {}, False),
        ({}, {"calibration_images": 128}, False),
        ({}, {"licence": "CC BY 4.0"}, False),
        ({}, {"version": "0.5"}, False),
        ({"licence": "CC BY 4.0", "version": "0.5"}, {"licence": "CC BY 4.0", "version": "0.5"}, True),
        ({"retrained": Retraining(3, 0)}, {}, True),
        ({"retrained": Retraining(2, 0)}, {}, False),
    ],
)
def test_a_file_is_kept_if_its_settings_are_the_same(
    changed: dict[str, Any], options: dict[str, Any], kept: bool, make_export_entry: Callable[..., ExportEntry]
) -> None:
    entry = make_export_entry(
        budget="int8", heatmap=False, broken=[], rung="percentile", **NOW,
        calibration=CalibrationImages(256, 0, "f", "percentile"),
    )  # fmt: skip
    chosen = FORMATS["onnx_int8_static_x86"]
    assert same_settings(replace(entry, **changed), chosen, replace(OPTIONS, **options), 1000) is kept


def test_a_rejected_file_is_kept_until_there_is_another_way_to_make_it(
    make_export_entry: Callable[..., ExportEntry],
) -> None:
    chosen = FORMATS["onnx_int8_static_x86"]
    bound = Budget(same_decision=1.1)
    options = replace(OPTIONS, budgets={"int8": bound})
    entry = make_export_entry(budget="int8", rung="minmax", **NOW)
    entry = replace(entry, broken=bound.broken(entry.gate, None))
    names = tuple(rung.name for rung in LADDER if rung.runtime == "onnx")
    assert entry.broken
    assert same_settings(replace(entry, ladder=names), chosen, options, 1000)
    assert not same_settings(replace(entry, ladder=names[:-1]), chosen, options, 1000)


def test_a_small_training_split_is_calibrated_with_all_its_images(
    make_export_entry: Callable[..., ExportEntry],
) -> None:
    entry = make_export_entry(budget="int8", rung="minmax", **NOW, calibration=CalibrationImages(40, 0, "f"))
    chosen = FORMATS["onnx_int8_static_x86"]
    assert same_settings(entry, chosen, OPTIONS, 40)
    assert not same_settings(entry, chosen, OPTIONS, 41)

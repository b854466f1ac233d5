from pathlib import Path

import pytest

from export.recipes import FORMATS, LADDER, METHODS, TFLITE_METHODS, Budget, load_budgets, select
from fracture_edge.errors import FractureEdgeError


def _names(**selection: object) -> list[str]:
    return [recipe.name for recipe in select(**selection)]  # type: ignore[arg-type]


def test_every_format_has_a_file_name_of_its_own() -> None:
    names = [recipe.file_name("edge") for recipe in FORMATS.values()]
    assert len(set(names)) == len(names) == 11
    assert FORMATS["onnx_int8_static_x86"].file_name("edge") == "edge-int8.onnx"


def test_targets_differ_in_what_processors_want() -> None:
    wanted = {recipe.target: (recipe.activations, recipe.weights) for recipe in FORMATS.values() if recipe.target}
    assert wanted == {"x86": ("uint8", "int8"), "safe": ("uint8", "uint8"), "arm64": ("int8", "int8")}


def test_the_usual_ones_when_nothing_is_selected() -> None:
    assert _names() == ["onnx_float32", "onnx_int8_static_x86", "tflite_float16", "tflite_int8"]
    assert _names(target="arm64")[1] == "onnx_int8_static_arm64"


def test_selections_narrow_one_another() -> None:
    assert _names(precisions=["int8"]) == ["onnx_int8_static_x86", "tflite_int8", "tflite_int8_full"]
    assert _names(precisions=["int8"], runtimes=["onnx"], target="safe") == ["onnx_int8_static_safe"]
    assert _names(precisions=["float16"]) == ["onnx_float16", "tflite_float16"]
    assert _names(runtimes=["tflite"]) == [
        name for name in FORMATS if name.startswith("tflite") and "qat" not in name
    ]
    assert _names(precisions=["dynamic"], runtimes=["onnx"]) == []
    # What must be trained further is made only when it is named.
    assert _names(everything=True) == [name for name in FORMATS if name != "tflite_int8_qat"]
    assert _names(names=["tflite_int8_qat"]) == ["tflite_int8_qat"]
    assert _names(names=["tflite_dynamic"], precisions=["int8"]) == ["tflite_dynamic"]


def test_what_does_not_exist_is_named_with_what_does() -> None:
    with pytest.raises(FractureEdgeError, match=r"unknown format 'onnx_int4'; must be one of: onnx_float32, "):
        select(names=["onnx_int4"])
    with pytest.raises(FractureEdgeError, match=r"unknown target 'z80'; must be one of: x86, safe, arm64"):
        select(target="z80")
    assert METHODS == ("minmax", "percentile", "entropy")


def test_the_ladder_starts_with_what_is_always_tried() -> None:
    for runtime, methods in (("onnx", METHODS), ("tflite", TFLITE_METHODS)):
        rungs = [rung for rung in LADDER if rung.runtime == runtime]
        names = [rung.name for rung in rungs]
        assert len(set(names)) == len(names)
        always = [rung.always for rung in rungs]
        assert always == sorted(always, reverse=True)
        # It needs no file before it.
        assert rungs[0].calibration in methods
        assert all(rung.calibration in ("", *methods) for rung in rungs)
        assert all(rung.why.endswith(".") for rung in rungs)
    assert [rung.float_layers for rung in LADDER if rung.float_layers] == [1, 2, 4, 8, 16]


def test_the_budgets_that_are_shipped() -> None:
    budgets = load_budgets()
    assert budgets["float32"] == Budget(largest_difference=1e-4)
    assert budgets["float16"].mean_difference == 0.005
    assert budgets["int8"] == Budget(
        same_decision=0.95,
        auroc_change=-0.01,
        sensitivity_change_high=0.0,
        pooled_same_decision=0.97,
        pooled_far_flips=0.01,
        pooled_net_flips=0.01,
        pooled_noise=0.15,
        pooled_auroc_change=-0.01,
        pooled_sensitivity_change=-0.02,
    )
    assert budgets["compressed"] == Budget(auroc_change=-0.01, sensitivity_change_high=0.0)
    # What was trained further on training images is not judged on them.
    assert {name for name, budget in budgets.items() if budget.pooled} == {"int8", "dynamic"}
    assert {recipe.precision for recipe in FORMATS.values()} <= set(budgets)


def test_budgets_of_ones_own_replace_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[int8]\nsame_decision = 0.9\n")
    budgets = load_budgets(path)
    assert budgets["int8"] == Budget(same_decision=0.9)
    assert budgets["float32"] == load_budgets()["float32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[int4]\n", "unknown budget 'int4'; must be one of: float32, float16, dynamic, int8, compressed"),
        ("[int8]\nauroc = 1\n", "unknown metric 'int8.auroc'; must be one of: largest_difference, "),
        ('[int8]\nsame_decision = "much"\n', "int8.same_decision must be a number"),
        ("[int8\n", "cannot be read"),
    ],
)
def test_bad_budgets_are_refused_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(FractureEdgeError, match=message):
        load_budgets(path)

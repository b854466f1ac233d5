"""Rules decide which images are answered; a mistake in their file is named with its place."""

from pathlib import Path

import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.header import ImageHeader
from fracture_edge.pacs.gateway.rules import Action, Rules

RULES = """
default = "pass"

[[rule]]
name = "no casts"
action = "pass"
description = ["*cast*", "*GIPS*"]

[[rule]]
name = "hands"
action = "answer"
modality = ["CR", "DX"]
body_part = ["HAND", "WRIST*"]
view = ["AP", "PA", ""]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return Rules.read(path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ImageHeader("CR", "HAND", "AP"), (Action.ANSWER, "hands")),
        (ImageHeader("DX", "wrist left", "pa"), (Action.ANSWER, "hands")),
        (ImageHeader("CR", "HAND", ""), (Action.ANSWER, "hands")),
        (ImageHeader("CR", "HAND", "LATERAL"), (Action.PASS, "default")),
        (ImageHeader("MG", "HAND", "AP"), (Action.PASS, "default")),
        (ImageHeader("CR", "", "AP"), (Action.PASS, "default")),
        # The first rule that fits decides.
        (ImageHeader("CR", "HAND", "AP", ("", "Hand in Cast")), (Action.PASS, "no casts")),
        (ImageHeader("CR", "HAND", "AP", ("Hand mit Gips", "")), (Action.PASS, "no casts")),
    ],
)
def test_first_rule_that_fits_decides(header: ImageHeader, expected: tuple[Action, str], rules: Rules) -> None:
    assert rules.decide(header) == expected


def test_without_rules_every_image_is_answered() -> None:
    assert Rules().decide(ImageHeader()) == (Action.ANSWER, "default")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = 3", r"rules\.toml, 'default': 3 must be one of: answer, pass"),
        ("defualt = 'pass'", r"rules\.toml: unknown key 'defualt'; must be one of: default, rule"),
        ("rule = 3", r"rules\.toml: 'rule' must be tables; begin each rule with \[\[rule\]\]"),
        (
            "[[rule]]\naction = 'pass'\nbodypart = 'HAND'",
            r"rules\.toml, rule 1: unknown key 'bodypart'; must be one of: name, action, modality, body_part",
        ),
        (
            "[[rule]]\nname = 'x'\nmodality = 'CR'",
            r"rules\.toml, rule 1 \(x\): 'action' is missing; must be one of: answer, pass",
        ),
        ("[[rule]]\naction = 'drop'\nmodality = 'CR'", r"rule 1, 'action': 'drop' must be one of: answer, pass"),
        ("[[rule]]\naction = 'pass'", r"rule 1: fits every image; give one of: modality, body_part, view, descr"),
        ("[[rule]]\naction = 'pass'\nmodality = 3", r"rule 1, 'modality': must be text or a list of texts"),
        ("[[rule]]\naction = 'pass'\nmodality = []", r"rule 1, 'modality': must be text or a list of texts"),
        ("[[rule]]\naction = 'pass'\nname = 3\nview = 'AP'", r"rule 1: 'name' must be text"),
        (
            2 * "[[rule]]\nname = 'a'\naction = 'pass'\nview = 'AP'\n",
            r"the name 'a' is taken; give each rule a name of its own",
        ),
        ("[[rule", r"rules\.toml: not a TOML file: "),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(FractureEdgeError, match=message):
        Rules.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"none\.toml: No such file"):
        Rules.read(tmp_path / "none.toml")

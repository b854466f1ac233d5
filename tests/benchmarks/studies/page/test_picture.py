"""The picture of the page in the documents."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.page import picture as module
from benchmarks.studies.page.pictures import bone
from fracture_edge.classifier import FractureClassifier


def test_the_drawn_bone_is_judged_by_its_probability() -> None:
    """After a change of the embedded model another seed may be needed."""
    answer = FractureClassifier(threads=1).predict(bone(np.random.default_rng(module._SEED), module._SIZE))
    assert answer.reason_code is not None
    assert not answer.reason_code.is_about_picture
    assert answer.body_part is not None


def test_without_a_browser_the_picture_stays_as_it_was(
    study: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "executable_of", lambda names: None)
    target = tmp_path / "page.jpg"
    target.write_bytes(b"before")
    code, out, err = study("page-picture", "-o", target)
    assert (code, out) == (1, "")
    assert err == "error: no Chromium here: install it, for example with `apt install chromium`\n"
    assert target.read_bytes() == b"before"

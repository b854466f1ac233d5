"""Links of the documents lead somewhere, and the page of the file format names every key."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from fracture_edge.modelfile import SCHEMA_VERSION, ModelInfo
from fracture_edge.preprocess import Preprocessing
from train.artifacts import OperatingPoint

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "fracture_edge/models/README.md"])


def _home() -> str:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        home: str = tomllib.load(stream)["project"]["urls"]["Homepage"]
    return home


def _links(text: str) -> list[str]:
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    references = re.findall(r"^\[[^\]]+\]: (\S+)$", text, flags=re.MULTILINE)
    return [*inline, *references, *re.findall(r'src="([^"]+)"', text)]


def _anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_somewhere(page: Path) -> None:
    home = _home()
    raw = home.replace("github.com", "raw.githubusercontent.com")
    for link in _links(page.read_text(encoding="utf-8")):
        # The package index shows the README alone, so its links name the repository.
        target, _, anchor = re.sub(rf"^({home}/blob/main|{raw}/main)/", f"{ROOT}/", link).partition("#")
        if target.startswith("http"):
            continue
        file = (page.parent / target) if target else page
        assert file.exists(), link
        if anchor:
            assert anchor in _anchors(file), link


def test_links_of_the_readme_name_the_repository() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = _links(text)
    assert len(links) > 8
    assert all(link.startswith("https://") for link in links)
    # Every reference that is used is defined.
    used = set(re.findall(r"\[([^\]]+)\](?![(:\]])", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    defined = set(re.findall(r"^\[([^\]]+)\]:", text, flags=re.MULTILINE))
    assert defined <= {" ".join(word.split()) for word in used}


def test_the_format_of_model_files_names_every_key() -> None:
    text = (ROOT / "docs/model-file.md").read_text(encoding="utf-8")
    rows = {
        key
        for cell in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
        for key in re.findall(r"`(\w+)`", cell)
    }
    keys = {entry.name for kind in (ModelInfo, Preprocessing, OperatingPoint) for entry in fields(kind)}
    assert keys <= rows
    assert f"schema version {SCHEMA_VERSION}" in text

"""The packages import in one direction, `fracture_edge` < `train` < `benchmarks` < `export`, without circles."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ORDER = ("fracture_edge", "train", "benchmarks", "export")


def _modules(repository: Path) -> dict[str, Path]:
    paths = [path for package in ORDER for path in (repository / package).rglob("*.py")]
    return {
        ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def _imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, including imports within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def imports(repository: Path) -> Mapping[str, set[str]]:
    modules = _modules(repository)
    return {
        name: {other for other in _imported(path) if other in modules and other != name}
        for name, path in modules.items()
    }


def test_nothing_imports_upwards(imports: Mapping[str, set[str]]) -> None:
    place = {package: number for number, package in enumerate(ORDER)}
    upwards = {
        (name, other)
        for name, others in imports.items()
        for other in others
        if place[other.partition(".")[0]] > place[name.partition(".")[0]]
    }
    assert upwards == set()
    # Make sure that the check has seen some imports.
    assert "train.evaluation.metrics" in imports["benchmarks.quality"]
    assert any(other.startswith("benchmarks.") for other in imports["export.steps"])


def test_no_circular_imports(imports: Mapping[str, set[str]]) -> None:
    TopologicalSorter(imports).prepare()


def test_modules_are_short(repository: Path) -> None:
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in _modules(repository).items()
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}


@pytest.mark.parametrize(
    ("package", "most"), [("fracture_edge", 27), ("train", 15), ("benchmarks", 14), ("export", 24)]
)
def test_packages_have_few_entries(package: str, most: int, repository: Path) -> None:
    """Count the files and folders directly in a package."""
    entries = [path.name for path in (repository / package).iterdir() if path.name != "__pycache__"]
    assert len(entries) - 1 <= most, sorted(entries)

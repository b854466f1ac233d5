"""Study `page-browsers`: the page in browsers, offline, against the program, on pictures drawn anew each time."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.studies.page.comparison import (
    REFUSED,
    about_text,
    compare_records,
    largest_difference,
    read_records,
)
from benchmarks.studies.page.golden import tolerant_copy
from benchmarks.studies.page.pictures import KINDS, Drawn, draw, spoilt
from benchmarks.studies.page.reference_model import change_weight, custom_cnn_files, predicted
from fracture_edge.attributes import BODY_PART_NAME, VIEW_NAME
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text, write_json
from fracture_edge.prediction import Prediction
from fracture_edge.web.assemble import assemble

#: How the files of each batch come to the page, see `web/test/browsers.mjs`.
WAYS = ("choose", "drop", "folder", "paste")
WEB = Path(__file__).resolve().parents[3] / "web"
#: Names of the programs of each browser, by their names in puppeteer.
BROWSERS = {"chrome": ("chromium", "chromium-browser", "google-chrome"), "firefox": ("firefox-esr", "firefox")}
app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Visit(NamedTuple):
    """What a browser showed.

    Attributes:
        name: Name and version of the browser.
        found: Result of `web/test/browsers.mjs`.
    """

    name: str
    found: dict[str, Any]


@app.command()
def browsers(
    count: Annotated[int, typer.Option(min=1, help="Number of drawn pictures.")] = 200,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: the clock.")] = None,
    models: Annotated[
        list[Path] | None, typer.Option("--model", help="Further model to make a page of; may be repeated.")
    ] = None,
    custom_cnn: Annotated[
        bool,
        typer.Option("--custom-cnn", help="Train and export a small custom CNN, and make pages of its files too."),
    ] = False,
    screenshots: Annotated[Path | None, typer.Option(help="Folder for pictures of the page.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the figures.")] = None,
) -> None:
    """Open the page in Chromium and Firefox, offline, and compare every answer with the program's.

    Pictures of all kinds that the page reads are drawn from a seed, uploaded and dropped; files that cannot be
    used are among them. Also: no request, another answer from a changed weight, every policy, axe-core. The page
    has to be built (`make web`).

    Exit status: 0 all is equal, or there is no browser (it says so); 1 something differs.
    """
    installed = {kind: path for kind, names in BROWSERS.items() if (path := executable_of(names))}
    if not installed or not (WEB / "node_modules").is_dir():
        say("page-browsers: skipped, " + ("run `make web` first" if installed else "no Chromium or Firefox here"))
        return
    seed = int(time.time()) if seed is None else seed
    say(f"page-browsers: seed {seed}, {count} pictures, {' and '.join(installed)}")
    with TemporaryDirectory(prefix="fracture-edge-page-") as folder:
        further = [*(models or []), *(custom_cnn_files(Path(folder) / "custom_cnn") if custom_cnn else [])]
        summary = _compare(Path(folder), installed, seed, count, further, screenshots)
    if output is not None:
        write_json(output, {"seed": seed, "pictures": count, "browsers": summary})
    for line in summary:
        say(json.dumps(line))
    if any(line["problems"] for line in summary):
        raise typer.Exit(1)


def executable_of(names: Sequence[str]) -> str | None:
    """Return the path of the first program of these names that is installed."""
    return next((found for name in names if (found := shutil.which(name))), None)


def _compare(
    folder: Path,
    installed: dict[str, str],
    seed: int,
    count: int,
    models: Sequence[Path],
    screenshots: Path | None,
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    drawn = [draw(kinds[i % len(kinds)], seed + i, int(rng.integers(120, 640))) for i in range(count)]
    bad = spoilt(seed, 300)
    usual, changed = tolerant_copy(folder), folder / "changed.onnx"
    change_weight(usual, changed, drawn[0])
    names = ["good", "bad", "folder", "again"]
    # The batches after the bad files show that the page is alive.
    batches = [drawn, bad, sorted(drawn[2:6], key=lambda file: file.name), drawn[:2]]
    tried = [(usual, batches, names), *((model, [drawn[:12]], ["good"]) for model in (changed, *models))]
    if screenshots is not None:
        screenshots.mkdir(parents=True, exist_ok=True)
    summary = []
    answers: dict[str, list[Prediction]] = {}
    for number, (model, some, labels) in enumerate(tried):
        page = folder / f"page-{number}.html"
        atomic_write_text(page, assemble(model))
        wanted = [predicted(model, batch) for batch in some]
        answers[str(number)] = wanted[0]
        for kind, executable in installed.items():
            is_first = number == 0
            visit = _visit(folder, kind, executable, page, some, labels, looks=is_first, screenshots=screenshots)
            problems = [*_problems(visit, page), *_differences(visit, wanted)]
            if is_first:
                problems += _policy_differences(visit, model, some[-1])
            summary.append(_line(visit, model.stem, page, wanted, problems))
    before, after = answers["0"][:12], answers["1"][:12]
    if all(one.probability == other.probability for one, other in zip(before, after, strict=True)):
        summary.append({"page": "changed", "problems": ["a changed weight changes no answer"]})
    return summary


def _visit(
    folder: Path,
    kind: str,
    executable: str,
    page: Path,
    batches: Sequence[Sequence[Drawn]],
    names: Sequence[str],
    *,
    looks: bool,
    screenshots: Path | None,
) -> Visit:
    """Let a browser classify the batches, and return what it showed."""
    paths = []
    for number, batch in enumerate(batches):
        target = folder / f"batch-{number}"
        target.mkdir(exist_ok=True)
        for file in batch:
            (target / file.name).write_bytes(file.data)
        paths.append([str(target / file.name) for file in batch])
    job = {
        "browser": kind,
        "executable": executable,
        "page": page.as_uri(),
        "batches": paths,
        "ways": list(WAYS[: len(paths)]),
        "names": list(names),
        "looks": looks,
        "policies": looks,
        "screenshots": str(screenshots.resolve()) if screenshots else None,
    }
    found = drive(folder, job)
    return Visit(f"{found['version']}", found)


def drive(folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Let a browser do a job.

    Args:
        folder: Folder for the job's file.
        job: What `web/test/browsers.mjs` reads.

    Returns:
        What it prints.

    Raises:
        FractureEdgeError: The browser fails.
    """
    file = folder / "job.json"
    write_json(file, dict(job))
    done = subprocess.run(  # noqa: S603
        ["node", str(WEB / "test" / "browsers.mjs"), str(file)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FractureEdgeError(f"{job['browser']}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _problems(visit: Visit, page: Path) -> Iterator[str]:
    """Yield what is wrong whatever the answers are: requests, errors, barriers."""
    found = visit.found
    # The page itself, and what it holds already.
    foreign = [url for url in found["requests"] if url != page.as_uri() and not url.startswith(("blob:", "data:"))]
    yield from (f"request: {url}" for url in foreign)
    yield from (f"error: {text}" for text in found["errors"])
    yield from (f"barrier: {text}" for text in found["violations"])
    if not found["answers"]:
        yield f"no answers: {found['state']}"


def _differences(visit: Visit, wanted: Sequence[Sequence[Prediction]]) -> Iterator[str]:
    for answer, predictions in zip(visit.found["answers"], wanted, strict=True):
        yield from compare_records(answer["csv"], predictions)
        shown = [row[1] for row in answer["rows"]]
        words = {
            None: "No answer",
            "fractured": "Fractured",
            "not_fractured": "Not fractured",
            "uncertain": "Uncertain",
        }
        expected = [None if one.path in REFUSED else one.decision for one in predictions]
        if shown != [words[decision] for decision in expected]:
            yield "the table shows other decisions"
        about = about_text(read_records(answer["csv"])[answer["chosen"]])
        if answer["about"] != about:
            yield f"the answer says {answer['about']!r}, not {about!r}"


def _policy_differences(visit: Visit, model: Path, files: Sequence[Drawn]) -> Iterator[str]:
    names = list(FractureClassifier(model, threads=1).info.operating_points)
    if len(visit.found["policies"]) < len(names):
        yield "not every operating point can be chosen"
    for number, name in enumerate(names):
        for text in compare_records(visit.found["policies"][str(number)], predicted(model, files, name)):
            yield f"{name}: {text}"


def _line(
    visit: Visit, model: str, page: Path, wanted: Sequence[Sequence[Prediction]], problems: list[str]
) -> dict[str, Any]:
    """Return the figures of one visit."""
    answers = visit.found["answers"]
    records = [read_records(answer["csv"]) for answer in answers]
    times = [float(record["elapsed_ms"]) for some in records for record in some if record["probability"]]
    return {
        "browser": visit.name,
        "model": model,
        "page_bytes": page.stat().st_size,
        "ready_ms": round(visit.found["readyMs"]),
        "answers": len(times),
        "largest_difference": max(map(largest_difference, records, wanted), default=0.0),
        "largest_differences_further": {
            field: max(map(largest_difference, records, wanted, repeat(field)), default=0.0)
            for field in (f"{BODY_PART_NAME}_probability", f"{VIEW_NAME}_probability")
        },
        "median_ms": round(float(np.median(times or [0.0]))),
        "longest_pause_ms": round(visit.found.get("longestPauseMs", 0)),
        "requests": len([url for url in visit.found["requests"] if not url.startswith(("blob:", "data:"))]),
        "axe_checks": visit.found.get("checks", 0),
        "problems": problems,
    }

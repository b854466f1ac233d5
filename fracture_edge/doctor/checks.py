"""Checks of the installation and the device for `fracture-edge doctor`.

They need no extra. Every check reports what was found and, if it failed, what to do.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from fracture_edge import machine
from fracture_edge._version import installed
from fracture_edge.doctor import known_answers
from fracture_edge.errors import FractureEdgeError

if TYPE_CHECKING:
    from fracture_edge.classifier import FractureClassifier

SCHEMA_VERSION = 1
PACKAGES = ("fracture-edge", "numpy", "pillow", "onnxruntime", "typer", "pydicom", "ai-edge-litert")
#: Tolerances of P(fractured), for each known picture and for their mean. Sums of int8 products are exact, but the
#: float operations between layers may round to the neighbouring int8 value on another processor. On emulated ARM
#: cores P differed by up to 0.010 over 47 pictures (0.016 over others, drawn before), and on these known ones by
#: 0.003 on average (`make arm64`, `benchmarks/results/arm64.json`); more than twice that is left for other
#: pictures and processors. What is wrong differs on all: another resampling filter by 0.085 at most and 0.033 on
#: average, an image that lies one pixel off by 0.069 and 0.028 (tests/fracture_edge/doctor/test_checks.py), sums
#: that saturate by 0.33 and 0.14
#: (`python -m benchmarks.studies emulation --plain` on the known pictures).
TOLERANCE, MEAN_TOLERANCE = 0.04, 0.01
_REINSTALL = "reinstall: pip install --force-reinstall fracture-edge"
_NO_VNNI = (
    "the processor does not report VNNI, so int8 sums use wider integers, which is slower but does not overflow; "
    "the predictions are the same"
)
_OTHER_PREDICTIONS = (
    "the predictions on this device differ from those of the model card; do not rely on them. Install the "
    "versions in constraints.txt; if they still differ, report the output of `fracture-edge doctor --json`"
)
#: Name of the last check, which is made unless a failure ends the checks early.
LAST = "processor"

Outcome = Literal["ok", "failed", "note"]


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        name: Name of the check.
        outcome: Outcome: ``ok``, ``failed``, or ``note`` for information without a failure.
        found: Description of what was found.
        advice: Advice on what to do; empty if there is nothing to do.
    """

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


def checks() -> Iterator[Check]:
    """Run the checks, quick ones first; a failure may end them early.

    Yields:
        Result of each check as soon as it is known.
    """
    if find_spec("packaging") is None:
        yield Check("packaging", "failed", "missing", "pip install packaging")
        return
    yield _python()
    packages = list(_packages())
    yield from packages
    yield _extras()
    imported = _imported()
    yield imported
    if imported.outcome == "failed":
        return
    if find_spec("ai_edge_litert") is not None:
        yield _litert()
    model = _model()
    yield model
    if model.outcome == "failed":
        return
    from fracture_edge.classifier import FractureClassifier

    try:
        classifier = FractureClassifier()
    except FractureEdgeError as error:
        yield Check("model loads", "failed", str(error), _REINSTALL)
        return
    with classifier:
        yield _known_answers(classifier)
    yield _instructions()


def _python() -> Check:
    from fracture_edge.doctor.requirements import satisfies, supported_python

    found = ".".join(map(str, sys.version_info[:3]))
    bits = 64 if sys.maxsize > 2**32 else 32
    supported = supported_python() or ">=3.11"
    if satisfies(found, supported) and bits == 64:
        return Check("Python", "ok", found)
    return Check("Python", "failed", f"{found}, {bits} bit", f"install a 64-bit Python {supported}")


def _packages() -> Iterator[Check]:
    from fracture_edge.doctor.requirements import requirements, satisfies

    wanted = {name: spec for name, spec, extra in requirements() if extra is None}
    if not wanted:
        yield Check("packages", "note", "fracture-edge runs from source, so its requirements are not known")
    versions = installed(*wanted)
    for name, spec in wanted.items():
        remedy = f"pip install '{name}{spec}'"
        if name not in versions:
            yield Check(name, "failed", "missing", remedy)
        elif not satisfies(versions[name], spec):
            yield Check(name, "failed", f"{versions[name]}, but {spec} is supported", remedy)
        else:
            yield Check(name, "ok", versions[name])


def _extras() -> Check:
    from fracture_edge.doctor.requirements import requirements

    needs: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra is not None and name != "fracture-edge":
            needs.setdefault(extra, []).append(name)
    complete = [extra for extra, names in needs.items() if len(installed(*names)) == len(names)]
    found = f"installed: {', '.join(complete) or 'none'}"
    if "dicom" in complete:
        return Check("extras", "note", found)
    return Check("extras", "note", found, "for DICOM files: pip install 'fracture-edge[dicom]'")


def _imported() -> Check:
    started = time.perf_counter()
    try:
        import numpy
        import onnxruntime
        import PIL.Image  # noqa: F401
    except (ImportError, OSError) as error:
        return Check(
            "libraries load",
            "failed",
            f"{type(error).__name__}: {error}",
            "pip install --force-reinstall numpy pillow onnxruntime; on Windows install the Microsoft Visual C++ "
            "Redistributable too",
        )
    del numpy, onnxruntime
    return Check("libraries load", "ok", f"in {(time.perf_counter() - started) * 1000:.0f} ms")


def _litert() -> Check:
    started = time.perf_counter()
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except (ImportError, OSError) as error:
        remedy = "for TFLite files: pip install --force-reinstall 'fracture-edge[litert]'"
        return Check("LiteRT loads", "failed", f"{type(error).__name__}: {error}", remedy)
    return Check("LiteRT loads", "ok", f"in {(time.perf_counter() - started) * 1000:.0f} ms")


def _model() -> Check:
    from fracture_edge.modelfile import read_model

    try:
        name, data, digest = read_model(None)
    except FractureEdgeError as error:
        return Check("embedded model", "failed", str(error), _REINSTALL)
    return Check(
        "embedded model", "ok", f"{name}, {len(data) / 1e6:.1f} MB, as shipped (SHA-256 {digest[:12]}...)"
    )


def _known_answers(classifier: "FractureClassifier") -> Check:
    try:
        known = json.loads(known_answers.FILE.read_bytes())
        expected = known["probabilities"]
        ours = known["model_sha256"] == classifier.sha256
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        return Check("known answers", "failed", "missing, or of another model", _REINSTALL)
    found = known_answers.predictions(classifier, len(expected))["probabilities"]
    differences = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    largest, mean = max(differences), sum(differences) / len(differences)
    text = (
        f"{len(expected)} images, P(fractured) differs by up to {largest:.4f} (tolerance {TOLERANCE}), "
        f"by {mean:.4f} on average (tolerance {MEAN_TOLERANCE})"
    )
    if largest <= TOLERANCE and mean <= MEAN_TOLERANCE:
        return Check("known answers", "ok", text)
    return Check("known answers", "failed", text, _OTHER_PREDICTIONS)


def _instructions() -> Check:
    flags = ", ".join(machine.cpu_flags()) or "instruction sets not known"
    if machine.exact_int8_sums():
        return Check(LAST, "ok", flags)
    return Check(LAST, "note", flags, _NO_VNNI)


def report(found: Sequence[Check], measured: dict[str, Any] | None) -> dict[str, Any]:
    """Make the report of `fracture-edge doctor --json`, without any path or host name.

    Args:
        found: Results of `checks`.
        measured: Result of `fracture_edge.doctor.speed.measure`, or ``None`` if nothing could be measured.

    Returns:
        Report as plain values for JSON.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "healthy": healthy(found),
        "checks": [asdict(check) for check in found],
        "measured": measured,
        "machine": machine.describe(*PACKAGES),
    }


def healthy(found: Sequence[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.outcome != "failed" for check in found)

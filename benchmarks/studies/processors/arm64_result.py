"""Result of the proof on ARM, `benchmarks.studies.processors.arm64`, and its table."""

from dataclasses import dataclass

from benchmarks.records.environment import Environment
from benchmarks.studies.processors.comparison import Comparison
from fracture_edge.policy import Policy
from train.evaluation.formatting import markdown_table

#: Largest accepted difference of P(fractured) to the machine that emulates.
LARGEST = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedCore:
    """What one emulated core gave.

    Attributes:
        cpu: Name of the core.
        machine: Architecture, as the interpreter that answered sees it.
        healthy: Whether `doctor --no-speed` found nothing wrong.
        tests: Last line of the tests: they all passed.
        records: Comparison by `classify` with the machine that emulates.
        any_image: Comparison by `classify --any-image`, where the probability alone decides.
        known: The same on the known pictures of `doctor` alone.
        unexplained: Names of the pictures with another decision, though P is farther than `LARGEST` from the ends
            of the uncertain band.
        seconds: Seconds of all runs on this core.
    """

    cpu: str
    machine: str
    healthy: bool
    tests: str
    records: Comparison
    any_image: Comparison
    known: Comparison
    unexplained: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRun:
    """Run of `classify` with a version of onnxruntime that these cores cannot run.

    Attributes:
        onnxruntime: Version of onnxruntime.
        cpu: Name of the core.
        ended_by: Name of the signal that ended it, or its exit status.
        said: Last line that it wrote to stderr.
    """

    onnxruntime: str
    cpu: str
    ended_by: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmProof:
    """Result of the proof.

    Attributes:
        suite: Release of Debian in the root.
        python: Version of its Python.
        versions: Versions of the packages that its pip installed.
        qemu: Version of the emulator.
        wheel: Name of the wheel.
        model_sha256: SHA-256 of the model in all records, hexadecimal.
        seed: Seed of the drawn pictures.
        cores: Results of each core.
        control: Negative controls.
        seconds: Seconds of each step by name, and of all.
        environment: Machine that emulates.
    """

    suite: str
    python: str
    versions: dict[str, str]
    qemu: str
    wheel: str
    model_sha256: str
    seed: int
    cores: tuple[EmulatedCore, ...]
    control: tuple[ControlRun, ...]
    seconds: dict[str, float]
    environment: Environment

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, in words; empty if everything does."""
        found = []
        for core in self.cores:
            found += [
                f"{core.cpu}: P differs by {compared.largest_difference:.4f}, more than {LARGEST}"
                for compared in (core.records, core.any_image)
                if not compared.largest_difference <= LARGEST
            ]
            found += [f"{core.cpu}: the interpreter runs on {core.machine}"] * (core.machine != "aarch64")
            found += [f"{core.cpu}: doctor found something wrong"] * (not core.healthy)
            found += [f"{core.cpu}: another decision for {name}" for name in core.unexplained]
        found += [
            f"{run.cpu}: onnxruntime {run.onnxruntime} ended with {run.ended_by}, not with SIGILL"
            for run in self.control
            if run.ended_by != "SIGILL"
        ]
        return tuple(found)


def unexplained(compared: Comparison, policy: Policy) -> tuple[str, ...]:
    """Return the pictures whose decision differs though P is far from every end of the band.

    Args:
        compared: Comparison by the probability alone.
        policy: Operating point of the model.
    """
    ends = (policy.uncertain_low, policy.uncertain_high, policy.threshold)
    return tuple(
        pair.path
        for pair in compared.differing
        if pair.native.probability is None or min(abs(pair.native.probability - end) for end in ends) > LARGEST
    )


def table_of(result: ArmProof) -> str:
    """Render the result as a table with what it was measured under."""
    rows = [
        (
            core.cpu,
            f"{core.records.same_decisions} of {core.records.answered}",
            f"{core.any_image.same_decisions} of {core.any_image.answered}",
            f"{core.any_image.largest_difference:.4f} / {core.any_image.mean_difference:.4f}",
            f"{core.known.largest_difference:.4f} / {core.known.mean_difference:.4f}",
            "healthy" if core.healthy else "not healthy",
            core.tests,
            f"{core.seconds:.0f}",
        )
        for core in result.cores
    ]
    header = (
        "emulated core",
        "same decisions",
        "with --any-image",
        "largest / mean difference of P",
        "on the known pictures",
        "`doctor`",
        "tests",
        "s",
    )
    control = "; ".join(f"{run.onnxruntime} on {run.cpu}: {run.ended_by} (`{run.said}`)" for run in result.control)
    steps = ", ".join(f"{name} {taken:.0f} s" for name, taken in result.seconds.items())
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    machine = result.environment
    here = f"onnxruntime {machine.versions['onnxruntime']} on {machine.cpu}"
    return (
        f"{markdown_table(header, rows)}\n"
        f"Debian {result.suite} for arm64 from nothing, Python {result.python}, installed by its own pip from "
        f"`{result.wheel}`: {versions}; {result.qemu}. Compared with {here}, on "
        f"{result.cores[0].records.images} pictures: drawn ones from seed {result.seed}, and the known ones of "
        f"`doctor`. Negative control, onnxruntime {control}. Time: {steps}, on {machine.cores} cores.\n"
    )

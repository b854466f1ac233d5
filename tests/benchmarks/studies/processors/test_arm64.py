"""The proof on ARM: what its verdict depends on. `make arm64` runs it with a real emulated Debian."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.environment import Environment
from benchmarks.studies.processors import arm64, debian_root
from benchmarks.studies.processors.arm64 import WORK, Records, _Proof, draw
from benchmarks.studies.processors.arm64_result import ArmProof, ControlRun, EmulatedCore, table_of, unexplained
from benchmarks.studies.processors.comparison import Comparison, Difference, Outcome
from benchmarks.studies.processors.debian_root import DebianRoot, checked, emulation
from fracture_edge import FractureClassifier, FractureEdgeError
from fracture_edge.doctor.known_answers import IMAGES, phantom
from fracture_edge.policy import Policy
from train.json_records import from_plain, to_plain

ALIKE = Comparison(
    images=47, answered=47, same_decisions=47, largest_difference=0.021, mean_difference=0.003, differing=()
)
CORE = EmulatedCore(
    cpu="cortex-a72", machine="aarch64", healthy=True, tests="51 passed in 20.00s", records=ALIKE, any_image=ALIKE,
    known=replace(ALIKE, images=7, answered=7, same_decisions=7, largest_difference=0.008), unexplained=(),
    seconds=61,
)  # fmt: skip


@pytest.fixture
def proof() -> ArmProof:
    return ArmProof(
        suite="bookworm", python="3.11.2", versions={"numpy": "2.4.6"}, qemu="qemu-aarch64 version 7.2.22",
        wheel="fracture_edge-1.0-py3-none-any.whl", model_sha256="a" * 64, seed=5, cores=(CORE,),
        control=(ControlRun(onnxruntime="1.21.0", cpu="cortex-a72", ended_by="SIGILL", said="qemu: signal 4"),),
        seconds={"root": 245.0, "all": 500.0},
        environment=replace(Environment.here(), cpu="A CPU", cores=2, versions={"onnxruntime": "1.32.0"}),
    )  # fmt: skip


def test_a_proof_holds_only_if_everything_does(proof: ArmProof) -> None:
    assert proof.failures == ()
    control = replace(proof.control[0], ended_by="status 0")
    for changes, wanted in (
        ({"machine": "x86_64"}, "cortex-a72: the interpreter runs on x86_64"),
        ({"healthy": False}, "cortex-a72: doctor found something wrong"),
        ({"records": replace(ALIKE, largest_difference=0.031)}, "cortex-a72: P differs by 0.0310, more than 0.03"),
        ({"any_image": replace(ALIKE, largest_difference=float("nan"))}, "cortex-a72: P differs by nan"),
        ({"unexplained": ("drawn001.jpg",)}, "cortex-a72: another decision for drawn001.jpg"),
    ):
        changed: dict[str, Any] = dict(changes)
        (found,) = replace(proof, cores=(replace(CORE, **changed),)).failures
        assert found.startswith(wanted)
    assert replace(proof, control=(control,)).failures == (
        "cortex-a72: onnxruntime 1.21.0 ended with status 0, not with SIGILL",
    )


def test_the_result_can_be_stored_and_shown(proof: ArmProof) -> None:
    assert from_plain(ArmProof, json.loads(json.dumps(to_plain(proof))), "proof") == proof
    text = table_of(proof)
    cells = ("cortex-a72", "47 of 47", "47 of 47", "0.0210 / 0.0030", "0.0080 / 0.0030", "healthy")
    assert f"| {' | '.join(cells)} | 51 passed in 20.00s | 61 |" in text
    assert (
        "Negative control, onnxruntime 1.21.0 on cortex-a72: SIGILL (`qemu: signal 4`). Time: root 245 s, " in text
    )
    assert "drawn ones from seed 5" in text


def test_a_decision_may_differ_only_beside_an_end_of_the_band() -> None:
    policy = Policy(threshold=0.4, uncertain_low=0.2, uncertain_high=0.6)

    def pair(name: str, probability: float | None) -> Difference:
        other = Outcome("ok", "uncertain", 0.5)
        return Difference(name, Outcome("ok", "fractured", probability), other)

    differing = (pair("near", 0.62), pair("far", 0.64), pair("at the threshold", 0.39), pair("refused", None))
    assert unexplained(replace(ALIKE, differing=differing), policy) == ("far", "refused")


def test_drawings_follow_the_seed(tmp_path: Path) -> None:
    names = draw(tmp_path / "a", 7, 4)
    assert names[:2] == ["drawn000.png", "drawn001.jpg"]
    assert len(names) == 4 + IMAGES
    assert (tmp_path / "a" / "known0.png").read_bytes() == phantom(0)
    draw(tmp_path / "b", 7, 4)
    draw(tmp_path / "c", 8, 4)
    one, same, other = ((tmp_path / folder / names[0]).read_bytes() for folder in "abc")
    assert one == same != other


class FakeRoot(DebianRoot):
    """Root whose programs are those of this machine."""

    def run(
        self, *command: str, cpu: str = "max", more: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        words = [sys.executable, *(["-m", "fracture_edge"] if program == "fracture-edge" else []), *arguments]
        inside = [word.replace(f"/{WORK}/", f"{self.folder}/{WORK}/") for word in words]
        settings = {**os.environ, "PYTHONPATH": str(arm64.CHECKOUT), **more}
        return subprocess.run(inside, env=settings, capture_output=True, check=False, text=True)


@pytest.fixture
def native(tmp_path: Path) -> _Proof:
    proof = _Proof(tmp_path / "root")
    proof.root = FakeRoot(tmp_path / "root")
    return proof


def test_one_core_on_this_machine(native: _Proof, tmp_path: Path) -> None:
    names = draw(tmp_path / "root" / WORK / "pictures", 3, 2)
    native.root.copy_in(arm64.CHECKOUT / "tests" / "fracture_edge" / "test_policy.py", f"{WORK}/tests")
    lines = [
        native.root.checked(
            "fracture-edge", "classify", *(f"/{WORK}/pictures/{name}" for name in names), "--jsonl", *options
        )
        for options in ((), ("--any-image",))
    ]
    records = Records.read(*lines)
    assert records.models == {FractureClassifier().sha256}
    core = native.on_core("cortex-a72", names, records)
    assert (core.cpu, core.healthy, core.machine) == ("cortex-a72", True, os.uname().machine)
    assert (core.any_image.images, core.known.images, core.any_image.largest_difference) == (2 + IMAGES, IMAGES, 0)
    assert " passed in " in core.tests
    with pytest.raises(FractureEdgeError, match="cortex-a72: the records name another model"):
        native.on_core("cortex-a72", names, records._replace(models=frozenset({"b"})))


def test_the_tests_of_the_proof_need_nothing_but_the_device_package(native: _Proof, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("train", "keras", "tensorflow", "pydicom", "sklearn"):
        (hidden / f"{name}.py").write_text("raise ImportError")
    for test in arm64.TESTS:
        native.root.copy_in(arm64.CHECKOUT / "tests" / "fracture_edge" / test, f"{WORK}/tests")
    path = os.pathsep.join((str(hidden), str(arm64.CHECKOUT)))
    command = ("python", "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", f"/{WORK}/tests")
    assert " passed in " in native.root.checked(*command, more={"PYTHONPATH": path}).splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "ended"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"), ("import os; os._exit(1)", "status 1")],
)
def test_how_the_control_ended(
    code: str, ended: str, native: _Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; print('one\\ntwo', file=sys.stderr)\n{code}")
    monkeypatch.setattr(arm64, "_CONTROL_FOLDER", str(tmp_path))
    run = native.control("cortex-a53", "x.png")
    assert (run.ended_by, run.said) == (ended, "two")


def test_a_failed_step_names_the_last_line(tmp_path: Path) -> None:
    root = FakeRoot(tmp_path)
    with pytest.raises(FractureEdgeError, match=r"^python ended with 3: second$"):
        root.checked("python", "-c", "import sys; print('first\\nsecond', file=sys.stderr); sys.exit(3)")
    with pytest.raises(FractureEdgeError, match=r"ended with 2: it wrote nothing$"):
        checked(sys.executable, "-c", "raise SystemExit(2)")
    assert checked(sys.executable, "-c", "import os; print(os.environ['X'])", more={"X": "y"}) == "y\n"


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(FractureEdgeError, match="not empty; name another folder, or remove it"):
        DebianRoot(tmp_path).make()


def test_a_new_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(debian_root, "checked", lambda *words: commands.append(" ".join(map(str, words))))
    monkeypatch.setattr(DebianRoot, "checked", lambda _, *words: commands.append(" ".join(words)))
    DebianRoot(tmp_path / "root").make("trixie")
    # Apart from this machine's mounts, so that what removes the root cannot reach them.
    assert commands[0].startswith("unshare --mount mmdebstrap --quiet --architectures=arm64 ")
    assert commands[0].endswith(f" trixie {tmp_path / 'root'}")
    assert commands[1:] == ["/usr/bin/python3 -m venv /opt/fracture-edge"]
    # Not an x86, on which onnxruntime would crash.
    assert "CPU implementer" in (tmp_path / "root" / "proc" / "cpuinfo").read_text()
    assert (tmp_path / "root" / "etc" / "resolv.conf").read_bytes() == Path("/etc/resolv.conf").read_bytes()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_root.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(debian_root.shutil, "which", lambda name: None if "qemu" in name else f"/bin/{name}")
    with (
        pytest.raises(FractureEdgeError, match=r"^tools are missing: apt-get install qemu-user-static$"),
        emulation(),
    ):
        pass
    monkeypatch.setattr(debian_root.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(debian_root.os, "geteuid", lambda: 1000)
    with pytest.raises(FractureEdgeError, match="run it with sudo"), emulation():
        pass
    monkeypatch.setattr(debian_root.platform, "machine", lambda: "aarch64")
    with pytest.raises(FractureEdgeError, match="on aarch64 run `doctor` itself"), emulation():
        pass


def test_the_rule_of_the_kernel_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_root.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(debian_root.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(debian_root.os, "geteuid", lambda: 0)
    rule = tmp_path / "qemu-aarch64.conf"
    rule.write_text(":a rule:")
    (tmp_path / "register").write_text("")
    monkeypatch.setattr(debian_root, "_BINFMT", tmp_path)
    monkeypatch.setattr(debian_root, "_RULE", rule)
    with emulation():
        assert (tmp_path / "register").read_text() == ":a rule:"
    assert (tmp_path / "qemu-aarch64").read_text() == "-1"
    # A rule that was there before stays.
    (tmp_path / "qemu-aarch64").write_text("enabled")
    with emulation():
        pass
    assert (tmp_path / "qemu-aarch64").read_text() == "enabled"


def test_exit_status(
    proof: ArmProof, study: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prove(folder: Path, suite: str, seed: int, number: int) -> ArmProof:
        asked.append((suite, seed, number))
        return proof

    monkeypatch.setattr(arm64, "prove", prove)
    code, out, err = study("arm64", "--seed", 9, "--count", 3, "--output", tmp_path / "arm64.json")
    assert (code, out.splitlines()[-1], asked) == (0, "everything holds", [("bookworm", 9, 3)])
    assert "seed 9" in err
    assert json.loads((tmp_path / "arm64.json").read_text())["seed"] == 5
    proof = replace(proof, cores=(replace(CORE, healthy=False),))
    assert study("arm64")[0] == 1
    # The clock gives the seed.
    assert asked[-1][1] != 9

"""The image of the Containerfile: run as its own user, with a read-only root and without a network.

No container engine is needed to run it: `unshare` and `chroot` set up what an engine would. The image has to be
mounted as a folder, by `podman image mount` or `buildah mount`. An image for another architecture
runs on an emulated core of a Raspberry Pi 4; the kernel has to know the emulator (qemu-user-static).
"""

import json
import os
import platform
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.environment import Environment
from benchmarks.studies.network import free_port
from benchmarks.studies.page.pictures import KINDS, draw
from benchmarks.studies.processors.comparison import Comparison, compare
from benchmarks.studies.processors.debian_root import PI_4, checked, describe_core
from benchmarks.studies.processors.emulator import PredictionRecord
from benchmarks.studies.serving.processes import ask
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError

_TOKEN = "token-of-the-container-study"  # noqa: S105
_SECONDS = 120.0
#: Architectures of images, and what ``uname -m`` calls them.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
#: Set up a root and run a command in it. Arguments: root, folder for /data, folder with the description of an
#: emulated core or nothing, user, command. The command is process 1 of its namespace, as in a container. Only
#: /data, /proc and /dev are mounted, and the description.
_RUN = (
    'root=$1 data=$2 core=$3 user=$4; shift 4; mount --bind "$root" "$root"; mount --bind "$data" "$root/data"; '
    'mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; mount -o remount,bind,ro "$root/data"; '
    'if [ "$core" ]; then mount --bind "$core/proc/cpuinfo" "$root/proc/cpuinfo"; '
    'mount --bind -o ro "$core/sys" "$root/sys"; fi; mount -o remount,bind,ro "$root"; '
    'exec chroot --userspec="$user" --groups= "$root" /usr/bin/env -i "$@"'
)
#: Commands in the container whose output is kept.
_WRITE = "for place in / /data /tmp /opt/fracture-edge; do touch $place/x 2>/dev/null && echo $place; done; true"
_NETWORKS = "cut -d: -f1 -s /proc/net/dev | tr -d ' '"


@dataclass(frozen=True, slots=True)
class ContainerResult:
    """What the image did.

    Attributes:
        architecture: Architecture of the image.
        machine: What ``uname -m`` says inside.
        emulator: Version of the emulator and the core that it emulates, if the image is for another architecture.
        image_mb: Size of all its files, in MB (10^6 bytes).
        package_mb: Size of the package and its dependencies.
        user: User and group that the image states.
        user_inside: What ``id -u`` says inside.
        writable: Places of `/`, `/data`, `/tmp`, `/opt/fracture-edge` in which a file could be made.
        networks: Network interfaces inside.
        files: Number of files that were classified.
        records: Number of their records.
        same: Number of records that are those of this machine's package, but for path and time.
        compared: Decisions and probabilities compared with those of this machine's package.
        without_token: Message of the image's own command when no token is given.
        seconds_to_ready: Seconds from the start of the server until it was ready.
        same_over_http: Number of files whose answer of the server has the probability of `classify`.
        memory_mb: Resident memory of the server at the end, with that of an emulator.
        exit_status: Exit status of the server after SIGTERM.
        environment: Machine and package versions, outside.
    """

    architecture: str
    machine: str
    emulator: str | None
    image_mb: float
    package_mb: float
    user: str
    user_inside: str
    writable: tuple[str, ...]
    networks: tuple[str, ...]
    files: int
    records: int
    same: int
    compared: Comparison
    without_token: str
    seconds_to_ready: float
    same_over_http: int
    memory_mb: float
    exit_status: int
    environment: Environment


def run_container(folder: Path, root: Path, inspected: Path, *, files: int, seed: int) -> ContainerResult:
    """Run an image that is mounted. This process has to be in a network namespace without a network.

    Args:
        folder: Folder for pictures.
        root: Folder where the image is mounted.
        inspected: JSON file that ``podman image inspect`` or ``buildah inspect --type image`` has printed.
        files: Number of files.
        seed: Seed of the pictures.

    Raises:
        FractureEdgeError: The image does not run.
    """
    container = _Container(root, inspected, folder)
    paths = container.draw(files, seed)
    records = json.loads(
        container.run("fracture-edge", "classify", "--json", *(f"/data/{path.name}" for path in paths))
    )
    with FractureClassifier() as classifier:
        expected = [prediction.record() for path in paths for prediction in classifier.predict_frames(path)]
    compared = compare(
        [PredictionRecord.of(one) for one in expected], [PredictionRecord.of(one) for one in records]
    )
    refused = container.run(*container.command, expect=1)
    port = free_port()
    started = time.perf_counter()
    server = container.start(*container.command, "--port", port, FRACTURE_EDGE_TOKEN=_TOKEN)
    try:
        _wait_until_ready(server, port)
        seconds = time.perf_counter() - started
        answers = [_post(port, path) for path in paths]
        (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        memory = int(Path(f"/proc/{child}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        os.kill(int(child), signal.SIGTERM)
        exit_status = server.wait(timeout=_SECONDS)
    finally:
        server.kill()
        server.wait()
    found = {Path(record["path"]).name: record["probability"] for record in records if record["frame"] == 1}
    return ContainerResult(
        architecture=container.architecture,
        machine=container.run("uname", "-m").strip(),
        emulator=container.emulator,
        image_mb=_size_mb(root),
        package_mb=_size_mb(root / "opt" / "fracture-edge"),
        user=container.user,
        user_inside=container.run("id", "-u").strip(),
        writable=tuple(container.run("sh", "-c", _WRITE).split()),
        networks=tuple(container.run("sh", "-c", _NETWORKS).split()),
        files=files,
        records=len(records),
        same=sum(_plain(one) == _plain(other) for one, other in zip(records, expected, strict=True)),
        compared=compared,
        without_token=refused.strip(),
        seconds_to_ready=seconds,
        same_over_http=sum(
            answer[0]["probability"] == found[path.name] for path, answer in zip(paths, answers, strict=True)
        ),
        memory_mb=memory,
        exit_status=exit_status,
        environment=Environment.here(),
    )


class _Container:
    """Image that is mounted, with its configuration.

    Attributes:
        architecture: Architecture that it states.
        emulator: Version of the emulator and the core that it emulates, if this is not the machine's architecture.
        user: User that it states.
        command: Its entry point with its default arguments.
    """

    def __init__(self, root: Path, inspected: Path, folder: Path) -> None:
        found: Any = json.loads(inspected.read_text())
        # podman and docker print a list, buildah one object.
        image = found[0] if isinstance(found, list) else found["OCIv1"]
        config = image.get("Config") or image["config"]
        self.architecture: str = image.get("Architecture") or image["architecture"]
        self.user: str = config["User"]
        self.command: list[str] = [*config["Entrypoint"], *config["Cmd"]]
        self._environment: list[str] = config["Env"]
        self.emulator: str | None = None
        self._core = ""
        machine = _MACHINES.get(self.architecture, self.architecture)
        if machine != platform.machine():
            version = checked(f"qemu-{machine}-static", "--version").partition("\n")[0]
            self.emulator, self._core = f"{PI_4}, {version}", str(folder / "core")
            self._environment = [*self._environment, f"QEMU_CPU={PI_4}"]
            describe_core(folder / "core")
        data = folder / "data"
        self._root, self._data = root, data
        data.mkdir()
        for parent in (data, *data.parents):
            # The user inside has to reach it, and TemporaryDirectory makes it for one user.
            if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("fracture-edge-study", "data")):
                parent.chmod(0o755)

    def draw(self, number: int, seed: int) -> list[Path]:
        """Draw pictures into /data, of the kinds in turns."""
        paths = []
        for index, kind in zip(range(number), list(KINDS) * (number // len(KINDS) + 1), strict=False):
            drawn = draw(kind, seed + index, 300)
            paths.append(self._data / drawn.name)
            paths[-1].write_bytes(drawn.data)
        return paths

    def start(self, *words: object, **variables: str) -> "subprocess.Popen[str]":
        """Start a command inside."""
        given = [*self._environment, *(f"{name}={value}" for name, value in variables.items())]
        inside = [self._root, self._data, self._core, self.user, *given, *words]
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-ec",
            _RUN,
            "sh",
            *map(str, inside),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603

    def run(self, *words: object, expect: int = 0) -> str:
        """Run a command inside, and return what it prints; what it says, if it is expected to fail.

        Raises:
            FractureEdgeError: It has another exit status.
        """
        process = self.start(*words)
        out, err = process.communicate(timeout=600)
        if process.returncode != expect:
            raise FractureEdgeError(f"{words[:2]}: exit status {process.returncode}: {err.strip()}")
        return err if expect else out


def _wait_until_ready(server: "subprocess.Popen[str]", port: int) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if ask(port, "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise FractureEdgeError(f"the server is not ready: exit status {server.poll()}")


def _post(port: int, path: Path) -> list[dict[str, Any]]:
    status, text = ask(port, "/v1/classify", path.read_bytes(), token=_TOKEN)
    if status != 200:
        raise FractureEdgeError(f"{path.name}: the server answers {status}")
    records: list[dict[str, Any]] = json.loads(text)
    return records


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as JSON has it, without path and time."""
    return {**json.loads(json.dumps(record)), "path": "", "elapsed_ms": 0}


def _size_mb(folder: Path) -> float:
    done = subprocess.run(["du", "-s", "--block-size=1000", folder], capture_output=True, check=True)  # noqa: S603, S607
    return int(done.stdout.split()[0]) / 1000

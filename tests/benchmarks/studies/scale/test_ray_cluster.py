"""`archive` on a Ray cluster of two nodes, in a network namespace of its own: a node and the driver are killed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip(
    "ray", reason="needs the extra [ray], which is not among those of [dev]: pip install 'ray[data]'"
)
if sys.platform != "linux" or subprocess.run(["unshare", "--net", "true"], check=False).returncode:
    pytest.skip("needs Linux, and root for a network namespace", allow_module_level=True)

pytestmark = pytest.mark.slow


def test_two_nodes(run_python: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    done = run_python("-m", "benchmarks.studies", "archive", "-o", path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(path.read_text())
    assert (found["files"], found["broken"]) == (1000, 20)
    for name, files in (("few", 100), ("undisturbed", 1000), ("raylet_killed", 1000)):
        run = found[name]
        assert (run["equal"], sum(run["by_node"])) == (True, files), name
    # Both nodes worked, also where one was killed.
    assert len(found["undisturbed"]["by_node"]) == len(found["raylet_killed"]["by_node"]) == 2
    # The resumed run kept what had arrived, and repeated less than a block.
    resumed = found["driver_killed"]
    assert resumed["equal"]
    assert sum(resumed["by_node"]) == 1000 - found["records_at_kill"]
    assert found["records_at_kill"] >= 300
    assert found["repeated"] < found["block_files"]

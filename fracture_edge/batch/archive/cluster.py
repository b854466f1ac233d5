"""Ray: joining a cluster, and the pool of workers that it runs."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fracture_edge.batch.archive.worker import Worker, WorkerOptions
from fracture_edge.errors import FractureEdgeError

#: Address that starts a cluster on this machine, which ends with the command.
LOCAL = "local"


@contextmanager
def joined(address: str) -> Iterator[int]:
    """Join a Ray cluster, and leave it at the end.

    Args:
        address: ``HOST:PORT``, ``auto`` for the cluster of this machine, or `LOCAL`.

    Yields:
        Number of cores of all machines.

    Raises:
        FractureEdgeError: There is no such cluster, or it has no cores.
    """
    # Ray would send statistics of use over the network.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    # Of a cluster on this machine no other one needs to know the address; finding out one asks the network.
    alone: dict[str, Any] = (
        {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == LOCAL else {}
    )
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise FractureEdgeError(f"--address {address}: {str(error).splitlines()[0]}") from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise FractureEdgeError(f"--address {address}: the cluster has no cores")
        yield cores
    finally:
        ray.shutdown()


def results(
    rows: Iterable[Mapping[str, Any]], model: bytes, options: WorkerOptions, workers: int
) -> Iterator[dict[str, Any]]:
    """Let workers do tasks, and yield the results as they come, in any order.

    A task whose machine fails is done again on another one.

    Args:
        rows: Tasks, see `fracture_edge.batch.archive.worker.to_row`.
        model: Content of the model file; it goes into the object store once, not with each task.
        options: Options of all workers.
        workers: Number of workers, each on a core of its own. It stays the same: Ray adds workers to a pool that
            may grow too late to be of use.
    """
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    tasks = list(rows)
    if not tasks:
        return
    # A block of Ray's own for each task, from the start: repartitioning later needs a core while the workers have
    # all of them, and waits for ever.
    yield from (
        ray.data.from_items(tasks, override_num_blocks=len(tasks))
        .map(
            Worker,
            fn_constructor_args=(ray.put(model), options),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
            num_cpus=1,
        )
        .iter_rows()
    )

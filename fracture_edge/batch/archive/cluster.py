"""Ray: joining a cluster, and the pool of workers that it runs."""

import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from fracture_edge.batch.archive.worker import Worker, WorkerOptions
from fracture_edge.errors import FractureEdgeError

#: Address that starts a cluster on this machine, which ends with the command.
LOCAL = "local"
_CONNECT_SECONDS = 10.0
#: Number of times that a task is tried again after its worker or machine failed. A file that crashes every worker
#: must not be tried for ever; while a dead machine has not been noticed, Ray tries every second.
_MOST_RETRIES = 100


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
    # Ray would send statistics of use over the network, and its C++ part writes warnings to stderr.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    _check_address(address)
    # Of a cluster on this machine no other one needs to know the address; finding out one asks the network.
    alone: dict[str, Any] = (
        {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == LOCAL else {}
    )
    # Ray prints what it says about its nodes.
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **alone)
        except Exception as error:  # Ray raises plain ones too, when a node does not start in time
            raise FractureEdgeError(f"--address {address}: {str(error).splitlines()[0]}") from error
        try:
            cores = int(ray.cluster_resources().get("CPU", 0))
            if not cores:
                raise FractureEdgeError(f"--address {address}: the cluster has no cores")
            yield cores
        finally:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Find out quickly whether anything listens at ``HOST:PORT``, for which Ray takes minutes.

    Raises:
        FractureEdgeError: Nothing does.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise FractureEdgeError(
            f"--address {address}: {error.strerror or error}; start a cluster there with `ray start --head`"
        ) from error


def results(
    rows: Iterable[Mapping[str, Any]], model: bytes, options: WorkerOptions, workers: int
) -> Iterator[dict[str, Any]]:
    """Let workers do tasks, and yield the results as they come, in any order.

    A task whose machine fails is done again on another one, `_MOST_RETRIES` times.

    Args:
        rows: Tasks, see `fracture_edge.batch.archive.worker.to_row`.
        model: Content of the model file; it goes into the object store once, not with each task.
        options: Options of all workers.
        workers: Number of workers, each on a core of its own. It stays the same: Ray adds workers to a pool that
            may grow too late to be of use.

    Raises:
        FractureEdgeError: A worker failed again and again, or cannot be started.
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
    dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        Worker,
        fn_constructor_args=(ray.put(model), options),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
        num_cpus=1,
        max_task_retries=_MOST_RETRIES,
    )
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        # The last line of the worker's traceback.
        reason = str(error).strip().splitlines()[-1].strip()
        raise FractureEdgeError(
            f"the cluster gave up: {reason}; the records so far are kept, go on with --resume"
        ) from error

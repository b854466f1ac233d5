"""Blocks of docs/scale.md with the results of the studies."""

from statistics import median

from benchmarks.report import prose
from benchmarks.studies.documents.results import read_stored
from benchmarks.studies.scale.ray_cluster import FEW, ArchiveResult, ArchiveRun
from benchmarks.studies.scale.shards import KILLED, SHARDS, ShardsResult
from benchmarks.studies.scale.throughput import (
    HALVES,
    MANY_ONE,
    MANY_TWO,
    ONE_CORE,
    ONE_IMAGE,
    ONE_THREAD,
    PLAIN,
    PLAIN_HALVES,
    TWO_CORES,
    Throughput,
)
from train.evaluation.formatting import markdown_table, times

#: Contenders whose speed is given as a multiple of another one's.
_YARDSTICKS = {
    TWO_CORES: ONE_CORE,
    ONE_THREAD: ONE_CORE,
    HALVES: ONE_CORE,
    MANY_TWO: MANY_ONE,
    PLAIN_HALVES: PLAIN,
}
_IMAGES = (10**4, 10**6, 10**8)
#: Numbers of machines with two cores each.
_MACHINES = (1, 4, 16, 64)
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def throughput() -> str:
    """Render images a second on one core and on two, beside yardsticks, as a table."""
    result = read_stored(Throughput, "throughput.json")
    rows = []
    for each in result.contenders:
        slow = _YARDSTICKS.get(each.name)
        rows.append(
            (
                each.name,
                f"{each.images_per_second:.1f}",
                f"{median(each.cpu_seconds) / each.images * 1000:.1f}",
                f"{each.memory_mb:.0f}",
                "" if slow is None else times(result.speedup(slow, each.name)),
            )
        )
    table = markdown_table(("what", "images/s", "processor ms an image", "peak MB", "times one core"), rows)
    one = result.contender(ONE_CORE)
    return (
        f"{table}\n{one.images} images of {result.data}, {result.megabytes:.2f} MB each on average, "
        f"{len(one.seconds)} rounds in turns, whole processes;\n"
        f"the last column is the median of the rounds' with its 95 % interval. "
        f"Other processes kept {result.other_cores:.1f} of the cores busy meanwhile.\n"
        f"{prose.describe_machine(result.environment)}.\n"
    )


def cost() -> str:
    """Render the time that many images take by the measured rates, as a table."""
    speed, shards = read_stored(Throughput, "throughput.json"), read_stored(ShardsResult, "shards.json")
    start = median(speed.contender(ONE_IMAGE).seconds)
    one, two = (
        (median(each.seconds) - start) / (each.images - 1)
        for each in (speed.contender(ONE_CORE), speed.contender(TWO_CORES))
    )
    largest = max(shards.merging, key=lambda cost: cost.records)
    merge = largest.seconds / largest.records
    rows = []
    for images in _IMAGES:
        machines = [start + images * two / count + (images * merge if count > 1 else 0) for count in _MACHINES]
        rows.append(
            (
                f"{images:,}",
                _duration(start + images * one),
                *map(_duration, machines),
                _duration(images * merge),
                f"{images * two * 2 / 3600:,.1f}",
            )
        )
    head = (
        "images",
        "one core",
        *(f"{count} x 2 cores" for count in _MACHINES),
        "of it merging",
        "core hours on two cores",
    )
    return (
        f"{markdown_table(head, rows)}\n"
        f"seconds = {start:.2f} + images x {two * 1000:.2f} ms / machines + images x {merge * 1e6:.0f} us "
        "(merging, if there are several machines);\n"
        f"on one core {one * 1000:.2f} ms in place of {two * 1000:.2f} ms. Computed from the rates of one "
        "machine, not measured on several.\n"
        f"Merging is the larger part from {two / merge:.0f} machines on. Two cores read "
        f"{speed.megabytes / two:.1f} MB a second.\n"
    )


def shards() -> str:
    """Describe the run in shards, and the cost of merging, as a table."""
    result = read_stored(ShardsResult, "shards.json")
    rows = [
        (f"{each.records:,}", f"{each.seconds:.1f}", f"{each.cpu_seconds:.1f}", f"{each.memory_mb:.0f}")
        for each in result.merging
    ]
    equal = "is" if result.equal else "is NOT"
    return (
        f"{result.files:,} files, {result.broken} of them broken, in {SHARDS} shards at the same time "
        f"({', '.join(map(str, result.shard_files))} files). Shard {KILLED} was killed\n"
        f"(SIGKILL) with {result.kept} records and classified {result.classified_again} files after `--resume`. "
        f"The merged file {equal} that of one run but for\n"
        f"`elapsed_ms`; `merge` ended with exit status {result.merge_exit}. One run.\n\n"
        f"{markdown_table(('records merged', 'seconds', 'processor seconds', 'peak MB'), rows)}"
    )


def archive() -> str:
    """Describe what the Ray cluster withstood, and what it costs, as a table."""
    result = read_stored(ArchiveResult, "archive.json")
    rows = [
        _run(f"{FEW} files, undisturbed", result.few),
        _run(f"{result.files} files, undisturbed", result.undisturbed),
        _run("a node killed (SIGKILL of its raylet) in mid-run", result.raylet_killed),
        _run("driver killed (SIGKILL) in mid-run; from `--resume` on", result.driver_killed),
    ]
    head = ("run", "seconds", "records as those of `classify`", "files by node")
    more = result.files - FEW
    cluster = (result.undisturbed.seconds - result.few.seconds) / more
    alone = (result.classify_seconds[1] - result.classify_seconds[0]) / more
    return (
        f"{markdown_table(head, rows)}\n"
        f"Ray {result.ray}, two nodes with one core each on one machine; {result.broken} of the files broken. "
        f"When the driver was killed, {result.records_at_kill}\n"
        f"records had arrived; {result.repeated} files were opened before and after it, in blocks of "
        f"{result.block_files} and tasks of {result.task_files}.\n"
        f"An image more took {cluster * 1000:.1f} ms, by `classify` on the same two cores {alone * 1000:.1f} ms. "
        f"Ray's own processes hold {result.memory_mb:.0f} MB.\n"
        f"One run each; the load average over 15 minutes was {result.load_average:.1f} on "
        f"{result.environment.cores} cores, this study's own processes among it.\n"
    )


def _run(name: str, run: ArchiveRun) -> tuple[str, str, str, str]:
    return name, f"{run.seconds:.1f}", "yes" if run.equal else "NO", ", ".join(map(str, run.by_node))


def _duration(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"

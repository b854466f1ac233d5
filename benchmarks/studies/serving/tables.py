"""Block of the documents with the results of the study."""

from benchmarks.report import prose
from benchmarks.studies.documents.results import read_stored
from benchmarks.studies.serving.abuse import Bombs, ServingAbuse
from benchmarks.studies.serving.container import ContainerResult
from benchmarks.studies.serving.equal import ServingEquality
from benchmarks.studies.serving.load import ServingLoad
from train.evaluation.formatting import markdown_table


def serving() -> str:
    """Describe what the server withstood, that it answers as the command line does, and its speed."""
    abuse = read_stored(ServingAbuse, "serving/abuse.json")
    equal = read_stored(ServingEquality, "serving/equal.json")
    answers = ", ".join(f"{number} with {status}" for status, number in abuse.answers.items())
    failed = sum(number for status, number in abuse.answers.items() if status.startswith("5"))
    lines: list[tuple[str, str | int]] = [
        ("files of all kinds that the page's study draws, records", f"{equal.files}, {equal.records}"),
        ("of these with the probability of `classify --json`, bit for bit", equal.same_probability),
        ("of these equal in every field but `elapsed_ms`", equal.same_record),
        (f"{abuse.mutated} requests broken in header, form or image, answered", answers),
        ("of these with 5xx; tracebacks and failures; names of patients in answers", _joined(failed, abuse)),
        (
            f"slowest of {len(abuse.after_slow)} normal requests beside {abuse.slow} slow connections",
            _slowest(abuse),
        ),
        ("of these connections still open after twice the time limit", abuse.slow_left),
        *((_bombs_of(bombs), _memory(bombs)) for bombs in abuse.bombs),
        ("threads, open files before and after; exit status after SIGTERM", _before_and_after(abuse)),
    ]
    return f"{markdown_table(('one run', 'result'), lines)}\n{prose.describe_machine(abuse.environment)}.\n"


def serving_speed() -> str:
    """Describe latency and throughput of the server."""
    load = read_stored(ServingLoad, "serving/load.json")
    rows = [("`predict`, one thread, in a process of its own", "", _ms(load.predict.p50), _ms(load.predict.p99))]
    rows.append(("POST over an open connection, in turns with it", "", _ms(load.post.p50), _ms(load.post.p99)))
    rows += [
        (
            f"{found.clients} client{'s' * (found.clients > 1)}, each without a pause",
            f"{found.per_second:.0f}",
            _ms(found.latency.p50),
            _ms(found.latency.p99),
        )
        for found in load.throughput
    ]
    return (
        f"{markdown_table(('', 'answers a second', 'p50, ms', 'p99, ms'), rows)}\n"
        f"A JPEG file of {load.megapixels:.2f} megapixels, {load.image_kb:.0f} kB; {load.requests} requests, of "
        f"which one takes {load.added_ms:.1f} ms more than the prediction after it (median).\n"
        f"Throughput: median of {load.rounds} rounds, in turns; clients on the same cores. Resident memory "
        f"of the server at the end: {load.memory_mb:.0f} MB.\n"
        f"The machine was shared with other work (load average {load.load_average:.1f} on "
        f"{load.environment.cores} cores before the start), so that figures of speed are lower bounds.\n"
        f"{prose.describe_machine(load.environment)}.\n"
    )


def container() -> str:
    """Describe what the images of the Containerfile did."""
    found = [read_stored(ContainerResult, f"serving/container-{name}.json") for name in ("amd64", "arm64")]
    rows = [
        ("one run", *("emulated" if one.emulator else "native" for one in found)),
        ("`uname -m`, `id -u` inside", *(f"{one.machine}, {one.user_inside}" for one in found)),
        (
            "size; of this the package with its dependencies",
            *(f"{one.image_mb:.0f} MB; {one.package_mb:.0f} MB" for one in found),
        ),
        (
            "of `/`, `/data`, `/tmp`, `/opt/fracture-edge` can be written to",
            *(", ".join(one.writable) or "none" for one in found),
        ),
        ("network interfaces inside", *(", ".join(one.networks) for one in found)),
        ("files that `classify` reads there, records", *(f"{one.files}, {one.records}" for one in found)),
        ("records equal to those outside but for path and time", *(one.same for one in found)),
        (
            "records with a probability; with the same decision as outside",
            *(f"{one.compared.answered}; {one.compared.same_decisions}" for one in found),
        ),
        ("largest difference of P to outside", *(f"{one.compared.largest_difference:.4f}" for one in found)),
        ("files with the same probability from the server inside", *(one.same_over_http for one in found)),
        (
            "server: ready after, memory at the end, exit status after SIGTERM",
            *(f"{one.seconds_to_ready:.1f} s, {one.memory_mb:.0f} MB, {one.exit_status}" for one in found),
        ),
    ]
    header = ("", *(one.architecture for one in found))
    emulators = "; ".join(f"{one.architecture} on {one.emulator}" for one in found if one.emulator)
    return (
        f"{markdown_table(header, rows)}\n"
        f"Emulated: {emulators}; time and memory are those of the emulator.\n"
        f"{prose.describe_machine(found[0].environment)}.\n"
    )


def _joined(failed: int, abuse: ServingAbuse) -> str:
    return f"{failed}; {abuse.defects}; {abuse.secrets}"


def _slowest(abuse: ServingAbuse) -> str:
    return f"{max(abuse.after_slow):.2f} s"


def _bombs_of(bombs: Bombs) -> str:
    return f"{bombs.number} PNG files of 100 megapixels at once, `--max-pixels {bombs.max_pixels}`"


def _memory(bombs: Bombs) -> str:
    statuses = ", ".join(f"{number} {status}" for status, number in bombs.statuses.items())
    memory = f"{bombs.memory_before_mb:.0f} MB before, {bombs.peak_memory_mb:.0f} at most"
    return (
        f"{statuses} after {bombs.seconds:.1f} s ({bombs.refused} times 503); {memory}, "
        f"{bombs.memory_after_mb:.0f} after"
    )


def _before_and_after(abuse: ServingAbuse) -> str:
    return (
        f"{abuse.threads_before}, {abuse.files_before} and {abuse.threads_after}, {abuse.files_after}; "
        f"{abuse.exit_status}"
    )


def _ms(value: float) -> str:
    return f"{value:.1f}"

"""Block of the documents with the results of the study."""

from benchmarks.report import prose
from benchmarks.studies.documents.results import read_stored
from benchmarks.studies.gateway.abuse import SENDING_THREADS, AbuseResult
from benchmarks.studies.gateway.kills import SENDERS, KillResult
from benchmarks.studies.gateway.load import LoadResult
from train.evaluation.formatting import markdown_table


def gateway() -> str:
    """Describe what the gateway withstood, and its throughput, as tables."""
    kills = read_stored(KillResult, "gateway/kills.json")
    encrypted = read_stored(KillResult, "gateway/kills-tls.json")
    abuse = read_stored(AbuseResult, "gateway/abuse.json")
    load = read_stored(LoadResult, "gateway/load.json")
    runs = (kills, encrypted)
    lost = (
        (f"images, from {SENDERS} processes of storescu", *(run.images for run in runs)),
        (
            "kills by SIGKILL; of these, with work in the spool",
            *(f"{run.kills}; {run.kills_at_work}" for run in runs),
        ),
        ("seconds during which Orthanc was stopped", *(f"{run.outage_seconds:.0f}" for run in runs)),
        ("captures and reports in Orthanc at the end", *(f"{run.captures}, {run.reports}" for run in runs)),
        ("reports found by findscu", *(run.reports_found for run in runs)),
        ("results in another study than their image", *(run.misfiled for run in runs)),
        ("reports with another probability than `classify` gives", *(run.wrong for run in runs)),
        ("new objects after a capture and a report were sent back", *(run.other for run in runs)),
        ("names and IDs of patients in messages and logs", *(run.secrets_in_messages for run in runs)),
        (
            "files left in the spool, exit status after SIGTERM",
            *(f"{len(run.left_in_spool)}, {run.exit_status}" for run in runs),
        ),
    )
    held = (
        (f"{abuse.silent} connections that say nothing, all open", f"{abuse.after_silent:.1f} s"),
        (f"{abuse.wrong_titles} associations with a wrong called AE title", f"{abuse.after_wrong_titles:.1f} s"),
        (f"{abuse.mutated} broken requests and data sets", f"{abuse.after_mutated:.1f} s"),
    )
    memory = ", ".join(f"{value:.0f}" for value in load.memory_mb)
    return (
        f"{markdown_table(('', 'unencrypted', 'TLS, certificates on both sides'), lost)}\n"
        f"{markdown_table(('after', 'the next sender has its image acknowledged after'), held)}\n"
        f"One run each. Threads before and after all of it: {abuse.threads_before} and {abuse.threads_after} "
        f"(up to {SENDING_THREADS} are started for sending and kept).\n\n"
        f"{load.images} images of {load.megapixels:.2f} megapixels and 16 bits, uncompressed, one sender and one "
        f"target, one run: {load.images_per_second:.1f} images a second, {load.repeated} sent again.\n"
        f"Sender, gateway and target shared the machine, and other programs took {load.other_work:.0%} of its "
        "processor time.\n"
        f"Of the {1000 / load.images_per_second:.0f} ms for each image the gateway took "
        f"{load.gateway_cpu_ms:.0f} ms of processor time. In a process of its own classification takes "
        f"{load.classify_ms:.0f} ms of processor time, {load.inference_ms:.0f} ms of them for inference; heat "
        f"map, capture and report take {load.results_ms:.0f} ms. The rest is receiving, keeping the spool and "
        f"sending.\n"
        f"Resident memory after each tenth: {memory} MB.\n"
        f"{prose.describe_machine(load.environment)}.\n"
    )

"""Command `fracture-edge doctor`."""

from typing import Annotated, Any

import typer

from fracture_edge.errors import EXIT_FAILED

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, to collect the reports of many devices.")
    ] = False,
    no_speed: Annotated[
        bool, typer.Option("--no-speed", help="Leave out the measurements, which take most of the time.")
    ] = False,
) -> None:
    """Check the installation and the embedded model, and measure the speed of this device.

    Checks the versions of packages, the checksum of the model, and its predictions for test images whose
    predictions are known. Then measures the latency over 100 runs, the time to the first prediction of a new
    process and its memory, unless --no-speed is given. Takes seconds on a PC and half a minute on a small board.
    The report contains no path and no host name, and nothing is sent anywhere.

    Exit status: 0 healthy, 1 a check failed (the report says what to do), 2 wrong usage.

    For research and education. Not a medical device.
    """
    from fracture_edge.doctor import checks as examination

    found = []
    for check in examination.checks():
        found.append(check)
        if not as_json:
            _print_check(check)
    measured = None
    if found[-1].name == examination.LAST and not no_speed:
        from fracture_edge.doctor.speed import measure

        measured = measure()
    if as_json:
        import json

        print(json.dumps(examination.report(found, measured), indent=2))
    else:
        _print_rest(examination.report(found, measured))
    if not examination.healthy(found):
        raise typer.Exit(EXIT_FAILED)


def _print_check(check: Any) -> None:
    mark = {"ok": "ok  ", "note": "note", "failed": "FAIL"}[check.outcome]
    print(f"{mark}  {check.name}: {check.found}", flush=True)
    if check.advice:
        print(f"      {'what to do: ' if check.outcome == 'failed' else ''}{check.advice}", flush=True)


def _print_rest(report: dict[str, Any]) -> None:
    measured, machine = report["measured"], report["machine"]
    if measured is not None:
        print("\nLatency in ms          median   90 % below   99 % below")
        for name, key in (("inference alone", "inference_ms"), ("file to decision", "file_to_decision_ms")):
            values = measured[key]
            print(f"  {name:18} {values['p50']:8.1f} {values['p90']:12.1f} {values['p99']:12.1f}")
        memory = measured["peak_memory_mb"]
        print(f"First prediction of a new process: {measured['first_answer_ms']:.0f} ms")
        print(f"Peak memory of that process: {'not known' if memory is None else f'{memory:.0f} MB'}")
        print(f"Threads per inference: {measured['threads']}")
    gigabytes = "" if machine["memory_gb"] is None else f", {machine['memory_gb']} GB memory"
    print(f"Device: {machine['cpu']}, {machine['cores']} cores{gigabytes}; {machine['os']}")
    failed = sum(check["outcome"] == "failed" for check in report["checks"])
    print("\nHealthy." if not failed else f"\nNot healthy: {failed} failed; see FAIL above.")

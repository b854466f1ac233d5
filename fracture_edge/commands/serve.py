"""Command `fracture-edge serve`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.commands.options import (
    CheckImagesOption,
    MaxPixelsOption,
    ModelOption,
    PolicyOption,
    ThresholdOption,
)
from fracture_edge.console import say
from fracture_edge.images.limits import MAX_PIXELS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Others than loopback need a token; 0.0.0.0 is all of IPv4."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token that requests must carry."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FRACTURE_EDGE_TOKEN",
            help="The token itself. Other users of the machine can read command lines: prefer the variable or "
            "--token-file.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Name that the server is called by, beside localhost and IP addresses; several may be given.",
        ),
    ] = [],  # noqa: B006
    cors: Annotated[
        list[str],
        typer.Option(
            metavar="ORIGIN",
            help="Origin whose pages may use the server, such as https://app.example.org; several may be given. "
            "Default: none but its own.",
        ),
    ] = [],  # noqa: B006
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate: encrypt connections.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Private key of --tls-cert.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests that are classified at a time. Default: one for each core, fewer if memory is scarce.",
        ),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(
            min=0, help="Requests that may wait for a worker; further ones get 503. Default: 8 for each worker."
        ),
    ] = None,
    max_size: Annotated[int, typer.Option(min=1, help="Largest request, in MB.")] = 250,
    max_memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Received images that are in memory together, in MB; further requests get 503. Default: a "
            "quarter of the memory, 250 to 1000.",
        ),
    ] = None,
    max_connections: Annotated[int, typer.Option(min=1, help="Open connections.")] = 512,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a client that sends or reads nothing is cut off.")
    ] = 10.0,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    """Serve the classifier over HTTP, until Ctrl-C or SIGTERM. Needs the [serve] extra.

    \b
    GET  /              the classifier as a page, which works in the browser and sends no image
    POST /v1/classify   classify an image, or a form with several; ?policy=screening, ?heatmap=1
    GET  /v1/model      metadata of the model
    GET  /healthz, /readyz, /metrics, /openapi.json

    An image is the body of a request, or a file of a form. The answer is the JSON array that `fracture-edge
    classify --json` prints: a record for each file or frame, also for files that cannot be used. A request that
    cannot be answered gets a status from 400 on, and the reason as JSON.

    Only this computer can connect, unless --host says otherwise. Then each request must carry the token
    (`Authorization: Bearer TOKEN`; a browser asks for it as password), and --tls-cert should encrypt it. Nothing
    of an image is stored or logged. SIGTERM finishes what was taken, a second one ends at once.

    Exit status: 0 stopped by Ctrl-C or SIGTERM, 1 failed, 2 wrong usage.

    For research and education. Not a medical device.

    \b
    fracture-edge serve
    curl --data-binary @image.png http://127.0.0.1:8765/v1/classify
    curl -F file=@a.png -F file=@b.dcm 'http://127.0.0.1:8765/v1/classify?policy=screening'
    fracture-edge serve --host 0.0.0.0 --token-file token --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.machine import usable_cores
    from fracture_edge.pacs.gateway.options import TlsFiles
    from fracture_edge.runtimes.threads import default_jobs
    from fracture_edge.serve.options import (
        QUEUE_PER_WORKER,
        ServeOptions,
        default_held_bytes,
        read_token,
    )
    from fracture_edge.serve.run import Server
    from fracture_edge.web.assemble import assemble

    number = workers or default_jobs(usable_cores())
    most = max_size * 1_000_000
    options = ServeOptions(
        host=host,
        port=port,
        token=read_token(token, token_file),
        host_names=tuple(allow_host),
        origins=tuple(cors),
        tls=TlsFiles(certificate=tls_cert, key=tls_key),
        workers=number,
        queue=QUEUE_PER_WORKER * number if queue is None else queue,
        max_body_bytes=most,
        max_held_bytes=max(default_held_bytes(), most) if max_memory is None else max_memory * 1_000_000,
        max_pixels=max_pixels,
        max_connections=max_connections,
        timeout=timeout,
    )

    def note(text: str) -> None:
        say(f"fracture-edge: {text}")

    with FractureClassifier(
        model, 1, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    ) as classifier:
        server = Server(classifier, options, make_page=lambda: assemble(model), note=note)
        note(f"{classifier.info.full_name} at {server.url}, {number} workers")
        if options.token is not None and tls_cert is None:
            note("connections are not encrypted, and so is the token not; --tls-cert encrypts them")
        server.serve_until_stopped()

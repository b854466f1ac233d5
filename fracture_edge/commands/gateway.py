"""Command `fracture-edge gateway`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.commands.options import (
    CheckImagesOption,
    MaxPixelsOption,
    ModelOption,
    PolicyOption,
    ThreadsOption,
    ThresholdOption,
)
from fracture_edge.commands.watch import Stop
from fracture_edge.console import say
from fracture_edge.images.limits import MAX_PIXELS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def gateway(
    spool: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder on a local disk for what was received and is to be sent. It holds patient data; keep it "
            "in place between runs.",
        ),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            metavar="AET@HOST:PORT",
            help="Archive that every result is sent to; several may be given. tls:AET@HOST:PORT encrypts.",
        ),
    ] = [],  # noqa: B006
    return_to_sender: Annotated[
        bool,
        typer.Option(
            "--return-to-sender",
            help="Send results to the AE title and address that the image came from, at --return-port.",
        ),
    ] = False,
    return_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of senders, for --return-to-sender.")
    ] = 104,
    aet: Annotated[
        str, typer.Option(help="AE title of the gateway; senders have to call it by this.")
    ] = "FRACTURE",
    host: Annotated[
        str, typer.Option(help="Address to listen on. Default: all addresses.", show_default=False)
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 11112,
    allow: Annotated[
        list[str],
        typer.Option(
            metavar="AET[@ADDRESS]",
            help="Sender that may connect, by AE title and IP address or network (CR1@10.0.0.7, *@10.0.0.0/24); "
            "several may be given. Default: all.",
        ),
    ] = [],  # noqa: B006
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file that says which images are answered; see docs/pacs.md."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate: accept encrypted connections only.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Private key of --tls-cert.")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Authorities that the certificates of senders and of tls: targets must be signed by.",
        ),
    ] = None,
    max_associations: Annotated[int, typer.Option(min=1, help="Senders at a time.")] = 32,
    max_size: Annotated[int, typer.Option(min=1, help="Largest image that is received, in MB.")] = 250,
    min_free: Annotated[
        int,
        typer.Option(min=0, help="Refuse images while less than this is free on the disk of the spool, in MB."),
    ] = 1000,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a peer that says nothing is cut off.")
    ] = 10.0,
    keep: Annotated[
        float, typer.Option(min=0, help="Days that answered images and sent results stay in the spool.")
    ] = 0.0,
    give_up: Annotated[
        float,
        typer.Option(min=0, help="Days after which a result that its target does not take is a dead letter."),
    ] = 7.0,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    """Receive DICOM images over the network, and send the results to a PACS, until Ctrl-C or SIGTERM.

    Takes CR, DX, RF and secondary captures, single- and multi-frame, in every transfer syntax (C-STORE), and
    answers C-ECHO. For each image a Secondary Capture (heat map, decision) and a Structured Report (TID 1500) go
    to every target. Needs the [pacs] extra.

    An image is acknowledged only when it is safely on the disk. A restart goes on where the last run ended, even
    after kill -9, and a repetition replaces results instead of adding any. Results wait in the spool until their
    target takes them; those that it refuses become dead letters, and a message says what to do. SIGTERM finishes
    what was taken, a second one ends at once. SPOOL/status.json has the counts.

    Names and IDs of patients are copied into the results, and into no message and no other file.

    Exit status: 0 stopped by Ctrl-C or SIGTERM, 1 failed, 2 wrong usage.

    For research and education. Not a medical device.

    \b
    fracture-edge gateway --spool spool --to ORTHANC@192.168.1.5:4242
    fracture-edge gateway --spool spool --return-to-sender --allow 'CR1@192.168.1.20' --rules rules.toml
    """  # noqa: D301
    from fracture_edge.pacs.gateway.options import GatewayOptions, TlsFiles
    from fracture_edge.pacs.gateway.peers import AllowedPeer, Target, check_ae_title
    from fracture_edge.pacs.gateway.rules import Rules

    options = GatewayOptions(
        ae_title=check_ae_title(aet),
        spool=spool,
        host=host,
        port=port,
        targets=tuple(map(Target.parse, to)),
        return_to_sender=return_to_sender,
        return_port=return_port,
        allowed=tuple(map(AllowedPeer.parse, allow)),
        rules=Rules() if rules is None else Rules.read(rules),
        tls=TlsFiles(certificate=tls_cert, key=tls_key, authorities=tls_ca),
        max_associations=max_associations,
        max_image_bytes=max_size * 1_000_000,
        min_free_bytes=min_free * 1_000_000,
        timeout=timeout,
        keep_days=keep,
        give_up_days=give_up,
    )
    from fracture_edge.pacs.results.make import require_pacs

    require_pacs("pydicom", "highdicom", "pynetdicom")
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.pacs.gateway.run import run

    stopped = Stop()
    with FractureClassifier(
        model, threads, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    ) as classifier:
        run(
            options,
            classifier,
            max_pixels=max_pixels,
            note=lambda text: say(f"fracture-edge: {text}"),
            stopped=stopped,
        )

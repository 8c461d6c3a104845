"""The command that fills a shop from a stream of events: consume."""

from dataclasses import asdict
from typing import Annotated

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json
from tailrec.cli.parse import seconds
from tailrec.serving.stream import consume as run_consume


def consume(
    *,
    shop: ShopOption = HERE,
    source: Annotated[
        str, typer.Option("--from", help="redis://HOST:PORT/0 or kafka://HOST:PORT.")
    ],
    stream: Annotated[str, typer.Option(help="Key of the stream, or the topic.")] = "events",
    group: Annotated[str, typer.Option(help="Consumers of one group share it.")] = "tailrec",
    consumer: Annotated[
        str | None,
        typer.Option(help="Name in the group; one a process.", show_default="this machine's"),
    ] = None,
    idle: Annotated[
        str, typer.Option(help="Take over what another consumer has held for so long (Redis).")
    ] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Stop when the stream is drained.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Store the events of a stream until told to stop: Redis Streams or Kafka."""
    with open_shop(shop) as opened:
        counts = run_consume(
            opened.store,
            source,
            stream,
            group=group,
            consumer=consumer,
            idle_s=seconds(idle),
            once=once,
        )
    if as_json:
        print_json(asdict(counts))
    else:
        typer.echo(
            f"{counts.messages:,} messages with {counts.events:,} events, {counts.new:,} of them "
            f"new; {counts.rejected:,} rejected"
        )

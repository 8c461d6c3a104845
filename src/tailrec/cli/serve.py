"""Commands of the service: serve, and keys to it."""

from pathlib import Path
from typing import Annotated

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table
from tailrec.data.keys import ROLES, Keys, parts_of
from tailrec.errors import DataError
from tailrec.settings import Settings, shared_metrics
from tailrec.shop_recipe import RECIPE

keys = typer.Typer(no_args_is_help=True, help="Keys to the service of a shop.")


def serve(
    shops: Annotated[
        list[Path] | None, typer.Argument(help="Folders of shops; this one if none is given.")
    ] = None,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="Processes.", min=1, max=256)] = 1,
    threads: Annotated[
        int, typer.Option(help="Requests a process works on at once.", min=1, max=256)
    ] = 4,
    log_requests: Annotated[
        bool, typer.Option("--log-requests/--no-log-requests", help="Log a line a request.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Recommendations, search and events over HTTP, until a signal says to stop."""
    folders = shops or [HERE]
    url = Settings.read().store_url
    if url and len(folders) > 1:
        raise DataError("TAILREC_STORE_URL names one store; name each shop's in its tailrec.toml")
    for folder in folders:
        if not (folder / RECIPE).exists():
            raise DataError(f"{folder} is no shop (no {RECIPE}); run `tailrec init {folder}`")

    def tell(address: str) -> None:
        told = {"url": address, "workers": workers, "shops": [str(folder) for folder in folders]}
        print_json(told) if as_json else typer.echo(f"tailrec listens on {address}")

    with shared_metrics(workers) as counts:
        # Metrics look at the environment when they are imported; and no other command waits.
        from tailrec.serving.app import Server
        from tailrec.serving.run import serve as run

        run(
            Server(
                tuple(folders),
                store_url=url,
                n_workers=workers,
                threads=threads,
                metrics_folder=counts,
                log_requests=log_requests,
            ),
            host,
            port,
            tell,
        )


def create(
    *,
    role: Annotated[str, typer.Option(help=f"What it allows: {', '.join(ROLES)}.")],
    label: Annotated[str | None, typer.Option(help="Who or what it is for.")] = None,
    shop: ShopOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: the store keeps a digest of it."""
    with open_shop(shop) as opened:
        key = Keys(opened.store).create(role, label=label)
    key_id, _ = parts_of(key) or ("", "")
    if as_json:
        print_json({"key": key, "key_id": key_id, "role": role, "label": label})
    else:
        typer.echo(key)
        typer.echo("it is not shown again; send it in the header X-API-Key", err=True)


def list_keys(*, shop: ShopOption = HERE, as_json: JsonOption = False) -> None:
    """The keys of a shop, without their secrets."""
    with open_shop(shop) as opened:
        found = Keys(opened.store).all()
    head = ["key_id", "role", "label", "created_at", "revoked_at"]
    rows = [[getattr(key, name) for name in head] for key in found]
    if as_json:
        print_json([dict(zip(head, row, strict=True)) for row in rows])
    else:
        print_table(f"keys of {shop}", head, rows)


def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it.")],
    *,
    shop: ShopOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Make a key worthless; a running service follows within a second or two."""
    with open_shop(shop) as opened:
        Keys(opened.store).revoke(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        typer.echo(f"{key_id} is revoked")

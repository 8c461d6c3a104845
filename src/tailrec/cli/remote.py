"""The same questions, put to a running service instead of a shop's folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tailrec import columns as c
from tailrec.cli.app import HERE
from tailrec.cli.output import print_json, print_table
from tailrec.client import Client
from tailrec.errors import DataError
from tailrec.settings import Settings
from tailrec.wire import Recommend

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask this service instead of a folder, with the key in TAILREC_KEY.",
    ),
]
SHOWN = (c.RANK, c.ITEM_ID, c.SCORE, c.TIER, "source")
FOUND = (c.RANK, c.ITEM_ID, c.SCORE, c.TIER, c.TITLE)


def service(url: str, shop: Path, **local: object) -> Client:
    """The service a command talks to.

    Args:
        url: where it listens.
        shop: what --shop says.
        local: options that only a folder can answer, by name; empty where not given.

    Raises:
        DataError: a folder or such an option is named as well, or there is no key.
    """
    given = [f"--{name}" for name, value in local.items() if value is not None]
    if shop != HERE:
        given.insert(0, "--shop")
    if given:
        raise DataError(f"{', '.join(given)} cannot go with --server; leave one of them out")
    key = Settings.read().key
    if key is None:
        raise DataError("set TAILREC_KEY to a key of the service; `tailrec keys create` makes one")
    return Client(url, key)


@contextmanager
def _asking(client: Client) -> Iterator[Client]:
    """The client for one question; what no service would take is said as other errors are."""
    try:
        with client:
            yield client
    except ValidationError as error:
        first = error.errors()[0]
        named = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{named} {first['input']!r}: {first['msg']}") from error


def tell_slate(
    client: Client, user: str | None, k: int, dials: Mapping[str, Any], *, as_json: bool
) -> None:
    """A slate of the service for one person; it is noted there as shown."""
    with _asking(client):
        slate = client.recommend(user_id=user, n=k, **dials)
    rows = [item.model_dump(include=set(SHOWN)) for item in slate.items]
    if as_json:
        about = {"user_id": user, "slate_id": slate.slate_id}
        print_json([{**about, **row} for row in rows])
        return
    note = f"slate {slate.slate_id}, model {slate.model}"
    if slate.fallback:
        note += f", answered by {slate.fallback}"
    title = f"recommended by {client.base_url}"
    print_table(title, SHOWN, [[row[name] for name in SHOWN] for row in rows], note=note)


def tell_found(client: Client, words: str, k: int, *, as_json: bool) -> None:
    """What the service finds."""
    with _asking(client):
        found = client.search(words, n=k)
    rows = [item.model_dump(include=set(FOUND)) for item in found.items]
    if as_json:
        print_json(rows)
        return
    read_as = ", ".join(f"{typed!r} read as {word!r}" for typed, word in found.corrected.items())
    title = f"found for {words!r}"
    print_table(title, FOUND, [[row[name] for name in FOUND] for row in rows], note=read_as)


def tell_reasons(
    client: Client, user: str, item: str, dials: Mapping[str, Any], *, as_json: bool
) -> None:
    """Why the service shows an item to somebody, or does not."""
    with _asking(client):
        why = client.explain(item, user_id=user, request=Recommend(user_id=user, **dials))
    if as_json:
        print_json(why.model_dump())
        return
    score = "no score" if why.score is None else f"score {why.score:.4f}"
    place = f"rank {why.rank}" if why.shown else f"not shown ({why.stage})"
    head = (c.ITEM_ID, "behaviour", "text")
    rows = [[getattr(reason, name) for name in head] for reason in why.reasons]
    print_table(f"{item} for {user}: {place}, {score}", head, rows, note=why.why)

"""Commands that ask a fitted model: recommend, search, explain."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tailrec import columns as c
from tailrec.batch import Planned, recommended
from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table
from tailrec.cli.parse import instant
from tailrec.cli.remote import ServerOption, service, tell_found, tell_reasons, tell_slate
from tailrec.slates import Ask, explained, found, titled

MOST_UNMET = 10
"""Goals that are not met and are printed, at most; --json with --out has all."""

Places = Annotated[int, typer.Option("-k", help="Places of a slate.", min=1)]
Tail = Annotated[
    float | None,
    typer.Option(help="Lean to the long tail.", min=0, max=1, show_default="as in the recipe"),
]
Diversity = Annotated[
    float | None,
    typer.Option(help="Variety in a slate.", min=0, max=1, show_default="as in the recipe"),
]
Seen = Annotated[bool, typer.Option("--include-seen", help="Show what the person has, too.")]
AsOf = Annotated[str | None, typer.Option(help="Know events before this instant only (ISO 8601).")]
Model = Annotated[str | None, typer.Option("--model", help="Version; the served one if not given.")]


def recommend(
    *,
    shop: ShopOption = HERE,
    server: ServerOption = None,
    user: Annotated[str | None, typer.Option(help="One person.")] = None,
    users: Annotated[
        str | None,
        typer.Option(help="A file: one id a line, or a table with a user_id column; or: all."),
    ] = None,
    k: Places = 20,
    tail: Tail = None,
    diversity: Diversity = None,
    include_seen: Seen = False,
    asof: AsOf = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="Write slates to .parquet or .csv.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Slates for one person, some, or all."""
    if server is not None:
        client = service(server, shop, users=users, asof=asof, model=model, out=out)
        dials = _dials(tail, include_seen=include_seen) | {"diversity": diversity}
        tell_slate(client, user, k, dials, as_json=as_json)
        return
    ask = Ask(k, tail, diversity, include_seen, instant(asof))
    plans: list[Planned] = []
    with open_shop(shop) as opened:
        slates = recommended(
            opened, user=user, users=users, ask=ask, version=model, out=out, on_plan=plans.append
        )
        if not out:
            slates = titled(opened, slates)
    n_slates = slates[c.USER_ID].n_unique()
    if as_json:
        facts = {"slates": n_slates, "file": str(out)} | (plans[0].to_dict() if plans else {})
        print_json(facts if out else slates.to_dicts())
        return
    if out:
        typer.echo(f"{n_slates:,} slates written to {out}")
    else:
        print_table(f"recommended by {shop}", slates.columns, slates.rows())
    for planned in plans:
        _print_plan(planned)


def search(
    words: Annotated[str, typer.Argument(help="What somebody looks for.")],
    *,
    shop: ShopOption = HERE,
    server: ServerOption = None,
    k: Places = 20,
    model: Model = None,
    as_json: JsonOption = False,
) -> None:
    """Items by what they say and what they mean."""
    if server is not None:
        client = service(server, shop, model=model)
        tell_found(client, words, k, as_json=as_json)
        return
    with open_shop(shop) as opened:
        items = found(opened, words, k, version=model)
    if as_json:
        print_json(items.to_dicts())
    else:
        print_table(f"found for {words!r}", items.columns, items.rows())


def explain(
    user: Annotated[str, typer.Argument(help="Id of the person.")],
    item: Annotated[str, typer.Argument(help="Id of the item.")],
    *,
    shop: ShopOption = HERE,
    server: ServerOption = None,
    tail: Tail = None,
    include_seen: Seen = False,
    asof: AsOf = None,
    model: Model = None,
    as_json: JsonOption = False,
) -> None:
    """Why an item has its place for a person: exact, by past item, behaviour, text, popularity."""
    if server is not None:
        client = service(server, shop, asof=asof, model=model)
        dials = _dials(tail, include_seen=include_seen)
        tell_reasons(client, user, item, dials, as_json=as_json)
        return
    ask = Ask(tail=tail, include_seen=include_seen, asof=instant(asof))
    with open_shop(shop) as opened:
        verdict, parts = explained(opened, user, item, ask=ask, version=model)
    if as_json:
        print_json({**verdict, "parts": parts.to_dicts()})
        return
    place = "not shown" if verdict["rank"] is None else f"rank {verdict['rank']}"
    popularity = verdict["popularity"]
    popular = f", of which {popularity:.4f} for being popular" if popularity else ""
    print_table(
        f"{item} for {user}: {place}, score {verdict['score']:.4f}{popular}",
        parts.columns,
        parts.rows(),
        note=verdict["why"],
    )


def _print_plan(planned: Planned) -> None:
    """Which goals on exposure a batch meets, and what that costs."""
    facts = planned.to_dict()["exposure"]
    typer.echo(
        f"{facts['n_met']:,} of {facts['n_goals']:,} goals on exposure are met; the slates keep "
        f"{facts['kept']:.2%} of their expected value, and no other could keep more than "
        f"{facts['bound']:.2%}"
    )
    if facts["unmet"]:
        rows = [list(goal.values()) for goal in facts["unmet"][:MOST_UNMET]]
        head = ["goal", "given", "missing", "most it could get"]
        print_table("goals that are not met", head, rows)


def _dials(tail: float | None, *, include_seen: bool) -> dict[str, Any]:
    """Dials as the service takes them."""
    return {"tail": tail, "seen": "show" if include_seen else None}

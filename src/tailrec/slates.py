"""Answers of a shop as tables: slates of people, items found, reasons."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.arrange import Arrangement, leaving_out, slates_of
from tailrec.assortment import Assortment
from tailrec.data.jsonlines import ROW
from tailrec.data.live import MOST_SLATES
from tailrec.data.read import read_table
from tailrec.dataset import DAY_US, Dataset
from tailrec.engine import Engine, Explanation
from tailrec.errors import DataError, RecipeError, UnknownUser
from tailrec.files import whole_file
from tailrec.items import PADDING, Array, BoolArray, Float32Array, Int32Array, ItemsBatch
from tailrec.search.index import Found
from tailrec.shop import Shop

CHUNK = 4_096
"""Users asked for at once, at most."""


class Ask(NamedTuple):
    """What is asked of every slate.

    Attributes:
        k: places.
        tail: 0..1, lean to the long tail.
        diversity: 0..1, variety within a slate.
        include_seen: show what the person has, too.
        asof: the instant of the request: later events are not known yet; None: the newest.
    """

    k: int = 20
    tail: float = 0.0
    diversity: float = 0.0
    include_seen: bool = False
    asof: datetime | None = None


TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Files of people that are tables with a column user_id; others have an id a line."""
PLAIN = Ask()
"""Slates as the model has them."""


def recommended(
    shop: Shop,
    *,
    user: str | None = None,
    users: str | None = None,
    ask: Ask = PLAIN,
    version: str | None = None,
    out: Path | None = None,
) -> pl.DataFrame:
    """Slates of one person, of the people in a file, or of all.

    Args:
        shop: an open shop.
        user: one person; anybody, known or not.
        users: a file of ids (one a line, or a table of `TABLES`), or `all` who have a history.
        ask: what is asked of each slate.
        version: of the model; the served one where None.
        out: also write them there (.parquet or .csv), whole or not at all.

    Returns:
        user_id, rank (1..k), item_id, score.

    Raises:
        DataError: neither or both of user and users are given, or a file is of the wrong kind.
        RecipeError: the model has no such dial.
    """
    if (user is None) == (users is None):
        raise DataError("say who the slates are for: --user ID, or --users FILE, or --users all")
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise DataError(f"{out} must end in .parquet or .csv")
    if out is not None and not out.absolute().parent.is_dir():
        raise DataError(f"{out.parent} is no folder; make it, or name another file")
    stand = shop.assortment(version)
    check_dials(stand.engine, ask.tail, ask.diversity)
    data = shop.dataset(until=ask.asof)
    ids = [user] if user is not None else _ids_of(users or "", data.user_ids)
    shown = _shown_in_vain(shop, data, stand, ask.asof)
    parts = []
    for start in range(0, len(ids), CHUNK):
        names = ids[start : start + CHUNK]
        rows = np.array([data.user_index.get(name, -1) for name in names], np.int32)
        queries = stand.engine.queries(
            data, rows, include_seen=True, tail=ask.tail, hidden=stand.hidden
        )
        seen = "show" if ask.include_seen else shop.recipe.slate.seen
        queries = leaving_out(queries, seen, stand.model.again_days)
        place, item = shown(names)
        how = Arrangement(
            ask.k,
            ask.diversity,
            rules=stand.rules_of(shop.recipe.rules),
            fatigue=shop.recipe.slate.fatigue,
            shown_rows=place,
            shown=item,
        )
        parts.append(_table(stand.engine, names, slates_of(stand.engine, queries, how)))
    table = pl.concat(parts)
    if out is not None:
        _write(table, out)
    return table


def found(shop: Shop, words: str, k: int, *, version: str | None = None) -> pl.DataFrame:
    """Items that fit some words: rank, item_id, score, title.

    Raises:
        DataError: there are no words.
    """
    stand = shop.assortment(version)
    best = search_items(stand, words, k=k).items
    batch = ItemsBatch(best.ids[None], best.scores[None])
    return titled(shop, _table(stand.engine, [words], batch)).drop(c.USER_ID)


def explained(
    shop: Shop, user: str, item: str, *, ask: Ask = PLAIN, version: str | None = None
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Why an item has its place for a person.

    Args:
        shop: an open shop.
        user: one person.
        item: any item.
        ask: the slate it is explained for; its places and diversity do not matter.
        version: of the model; the served one where None.

    Returns:
        the verdict (rank, score, popularity: what of the score being popular gives, excluded, why
        in words), and one row a past item: item_id, what it gives by behaviour and by text, and
        its title. The rows and the popularity add up to the score.

    Raises:
        UnknownUser: the person has no history to explain with.
        UnknownItem: the shop does not have the item.
    """
    stand = shop.assortment(version)
    engine = stand.engine
    check_dials(engine, ask.tail, 0.0)
    data = shop.dataset(until=ask.asof)
    if user not in data.user_index:
        raise UnknownUser(f"{user!r} has no history in this shop; there is nothing to explain")
    row = np.array([data.user_index[user]], np.int32)
    query = engine.queries(
        data,
        row,
        include_seen=ask.include_seen,
        tail=ask.tail,
        hidden=stand.hidden,
    )
    why = engine.explain(query, item)
    parts = pl.DataFrame(
        {
            c.ITEM_ID: engine.ids[why.parts.ids].astype(str),
            "behaviour": why.parts.behaviour,
            "text": why.parts.text,
        },
        schema={c.ITEM_ID: pl.String, "behaviour": pl.Float64, "text": pl.Float64},
    )
    verdict = {
        c.ITEM_ID: item,
        c.USER_ID: user,
        "rank": why.rank,
        "score": why.parts.score,
        "popularity": why.parts.popularity,
        "excluded": why.excluded,
        "why": _in_words(why, len(engine.ids)),
    }
    return verdict, titled(shop, parts)


def search_items(
    stand: Assortment,
    words: str,
    *,
    k: int,
    hidden: BoolArray | None = None,
    tail: float = 0.0,
    liking: Float32Array | None = None,
) -> Found:
    """Items that fit some words.

    Args:
        stand: the shop's items.
        words: what somebody typed.
        k: most items returned.
        hidden: bool [I], items that are not to be found; those not on sale where None.
        tail: 0..1, lean to the long tail.
        liking: float32 [I], how much the person asking likes each item.

    Raises:
        DataError: there are no words.
    """
    reading = stand.index.read(words, allowed=~(stand.hidden if hidden is None else hidden))
    encoder = stand.engine.features.encoder
    vector = encoder.encode_texts([reading.text])[0] if encoder else None
    counts = stand.engine.counts
    return stand.index.search(reading, vector, k=k, counts=counts, tail=tail, liking=liking)


def _shown_in_vain(
    shop: Shop, data: Dataset, stand: Assortment, asof: datetime | None
) -> Callable[[list[str]], tuple[Int32Array, Int32Array]]:
    """For people by id: rows and items of what they were shown lately, as the service knows it."""
    wanted = [c.USER_ID, c.TIMESTAMP, c.ITEM_IDS]
    slates = shop.store.read("slates", columns=wanted).drop_nulls(c.USER_ID)
    if asof is not None:
        slates = slates.filter(pl.col(c.TIMESTAMP).dt.epoch("us") < data.now)
    newest = slates.sort(c.TIMESTAMP, descending=True).group_by(c.USER_ID).head(MOST_SLATES)
    time = pl.col(c.TIMESTAMP).dt.epoch("us")
    latest = pl.max_horizontal(time.max().over(c.USER_ID), pl.lit(data.now))
    lately = newest.filter(time >= latest - shop.recipe.slate.fatigue_days * DAY_US)
    items = lately.select(
        c.USER_ID, pl.col(c.ITEM_IDS).str.json_decode(pl.List(pl.String)).alias(c.ITEM_ID)
    ).explode(c.ITEM_ID)
    number = [stand.engine.index.get(item_id, PADDING) for item_id in items[c.ITEM_ID].to_list()]
    items = items.with_columns(pl.Series("number", number, dtype=pl.Int32))
    items = items.filter(pl.col("number") != PADDING)

    def of(names: list[str]) -> tuple[Int32Array, Int32Array]:
        people = pl.DataFrame({c.USER_ID: names}).with_row_index("row")
        own = people.join(items, on=c.USER_ID, how="inner")
        return own["row"].cast(pl.Int32).to_numpy(), own["number"].to_numpy()

    return of


def _in_words(why: Explanation, n_items: int) -> str:
    if why.excluded:
        return "not shown: the person has it already, or it is not for sale"
    if why.rank is None:
        return "not shown: nothing in the history speaks for it"
    place = f"place {why.rank:,} of {n_items:,}"
    parts = why.parts
    text, behaviour = float(parts.text.sum()), float(parts.behaviour.sum())
    if min(text, behaviour) >= 0:
        told = (
            f"{text / parts.score:.0%} of the score from likeness of words and meaning, "
            f"{behaviour / parts.score:.0%} from what people had together"
        )
        if parts.popularity:
            told += f", {parts.popularity / parts.score:.0%} from being popular"
        return f"{place}; {told}"
    # What is not above 0 is either against the item, or nothing.
    reasons = (
        (text, "its words and meaning", "not for its words and meaning"),
        (behaviour, "what people had together", "people had other things together"),
        (parts.popularity, "being popular", ""),
    )
    speaking = " and ".join(said for part, said, _ in reasons if part > 0)
    against = " and ".join(said for part, _, said in reasons if part < 0)
    return f"{place}; for {speaking}, though {against}"


def check_dials(engine: Engine, tail: float, diversity: float) -> None:
    """Refuse a dial that would do nothing.

    Raises:
        RecipeError: the engine cannot do what a dial above 0 asks for.
    """
    kind = engine.recipe.source.kind
    if tail and kind != "linear":
        raise RecipeError(f"source {kind!r} cannot lean to the tail; fit kind 'linear' for that")
    if diversity and not engine.features.features.dense.shape[1]:
        raise RecipeError("diversity needs vectors of meaning; set encode = true under [features]")


def _ids_of(users: str, known: Array) -> list[str]:
    """Ids in a file: one a line, or a column user_id of a table."""
    if users == "all":
        return [str(user_id) for user_id in known]
    path = Path(users)
    if not path.is_file():
        raise DataError(f"{users} is no file; name one with a user id a line, or say all")
    if path.suffix in TABLES:
        frame = read_table(path).drop(ROW)
        if c.USER_ID not in frame.columns:
            raise DataError(f"{users} has columns {frame.columns}; {c.USER_ID} is needed")
        ids = frame[c.USER_ID].cast(pl.String).drop_nulls().to_list()
    else:
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{users} is no text in UTF-8; save it as such") from error
        ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{users} names nobody")
    return list(dict.fromkeys(ids))


def _table(engine: Engine, names: list[str], slates: ItemsBatch) -> pl.DataFrame:
    """Slates as rows."""
    row, place = np.nonzero(slates.ids != PADDING)
    return pl.DataFrame(
        {
            c.USER_ID: np.array(names, dtype=object)[row],
            c.RANK: (place + 1).astype(np.int32),
            c.ITEM_ID: engine.ids[slates.ids[row, place]],
            c.SCORE: slates.scores[row, place],
        },
        schema={c.USER_ID: pl.String, c.RANK: pl.Int32, c.ITEM_ID: pl.String, c.SCORE: pl.Float32},
    )


def titled(shop: Shop, table: pl.DataFrame) -> pl.DataFrame:
    """A table of items with their titles in a last column."""
    titles = shop.store.read("items", columns=[c.ITEM_ID, c.TITLE])
    return table.join(titles, on=c.ITEM_ID, how="left", maintain_order="left")


def _write(table: pl.DataFrame, out: Path) -> None:
    with whole_file(out) as beside:
        if out.suffix == ".parquet":
            table.write_parquet(beside)
        else:
            table.write_csv(beside)

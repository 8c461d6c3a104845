"""Answers of a shop as tables: items found, and reasons; what is asked of slates."""

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.assortment import Assortment
from tailrec.engine import Engine, Explanation
from tailrec.errors import RecipeError, UnknownUser
from tailrec.items import PADDING, BoolArray, Float32Array, ItemsBatch
from tailrec.reranking.grouping import UNGROUPED
from tailrec.reranking.variety import Method
from tailrec.search.index import Found
from tailrec.shop import Shop


class Ask(NamedTuple):
    """What is asked of every slate.

    Attributes:
        k: places.
        tail: 0..1, lean to the long tail; the recipe's where None.
        diversity: 0..1, variety within a slate; the recipe's where None.
        include_seen: show what the person has, too.
        asof: the instant of the request: later events are not known yet; None: the newest.
    """

    k: int = 20
    tail: float | None = None
    diversity: float | None = None
    include_seen: bool = False
    asof: datetime | None = None


PLAIN = Ask()
"""Slates as the recipe has them."""


def found(shop: Shop, words: str, k: int, *, version: str | None = None) -> pl.DataFrame:
    """Items that fit some words: rank, item_id, score, title.

    Raises:
        DataError: there are no words.
    """
    stand = shop.assortment(version)
    best = search_items(stand, words, k=k).items
    batch = ItemsBatch(best.ids[None], best.scores[None])
    return titled(shop, slate_table(stand.engine, [words], batch)).drop(c.USER_ID)


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
        the verdict (rank, score, popularity: what of the score being popular gives, others: what
        other sources of a mixture give, excluded, why in words), and one row a past item: item_id,
        what it gives by behaviour and by text, and its title. All of it adds up to the score.

    Raises:
        UnknownUser: the person has no history to explain with.
        UnknownItem: the shop does not have the item.
    """
    stand = shop.assortment(version)
    engine = stand.engine
    tail = shop.recipe.slate.tail if ask.tail is None else ask.tail
    check_dials(stand, tail, 0.0)
    data = shop.dataset(until=ask.asof)
    if user not in data.user_index:
        raise UnknownUser(f"{user!r} has no history in this shop; there is nothing to explain")
    row = np.array([data.user_index[user]], np.int32)
    query = engine.queries(
        data,
        row,
        include_seen=ask.include_seen,
        tail=tail,
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
        "others": dict(why.parts.others),
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


def _in_words(why: Explanation, n_items: int) -> str:
    if why.excluded:
        return "not shown: the person has it already, or it is not for sale"
    if why.rank is None:
        return "not shown: nothing in the history speaks for it"
    place = f"place {why.rank:,} of {n_items:,}"
    parts = why.parts
    text, behaviour = float(parts.text.sum()), float(parts.behaviour.sum())
    if parts.others or not parts.score:
        listed = sorted(parts.others.items(), key=lambda one: -one[1])
        own = [
            ("words and meaning, linear", text),
            ("what people had together, linear", behaviour),
            ("being popular, linear", parts.popularity),
        ]
        said = ", ".join(f"{name} {value:+.3f}" for name, value in [*own, *listed] if value)
        return f"{place}; {said}"
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


def check_dials(stand: Assortment, tail: float, diversity: float, method: Method = "mmr") -> None:
    """Refuse a dial that would do nothing.

    Raises:
        RecipeError: the engine or the catalogue cannot do what a dial above 0 asks for.
    """
    engine = stand.engine
    kind = engine.recipe.source.kind
    if tail and not engine.recipe.leans:
        raise RecipeError(f"source {kind!r} cannot lean to the tail; fit kind 'linear' for that")
    if not diversity:
        return
    if method in ("mmr", "dpp") and not engine.features.features.dense.shape[1]:
        raise RecipeError(
            f"diversity by {method!r} needs vectors of meaning; set encode = true under "
            f"[features], or variety = 'categories' under [slate]"
        )
    if method in ("categories", "interests") and (stand.groups(c.CATEGORY) == UNGROUPED).all():
        raise RecipeError(f"diversity by {method!r} needs categories, and no item has one")


def slate_table(engine: Engine, names: list[str], slates: ItemsBatch) -> pl.DataFrame:
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

"""One person, or one product, known under several ids."""

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tailrec import columns as c
from tailrec.errors import DataError

PRODUCT = "product"
"""Aliases whose platform is this word, or begins with 'product:', are of items."""

CANONICAL = "canonical"

_ANY = ""
_RESOLVED = {c.PLATFORM: pl.String(), c.ALIAS: pl.String(), CANONICAL: pl.String()}


def resolve(aliases: pl.DataFrame) -> pl.DataFrame:
    """Follows aliases to the one id that stands for all of them.

    Args:
        aliases: platform, alias, user_id; the id named may itself be an alias, if it means
            the same on every platform it is one of. Platform '' means any. The order of the rows
            does not matter.

    Returns:
        platform, alias, canonical: the given pairs, and with a null platform every alias that
        means the same on all platforms. Ids that stand for themselves are left out.

    Raises:
        DataError: two ids that are no aliases of each other share an alias.
    """
    given = aliases.select(pl.col(c.PLATFORM).fill_null(_ANY), c.ALIAS, c.USER_ID).unique()
    if given.is_empty():
        return pl.DataFrame(schema=_RESOLVED)
    nodes, followed = _groups(given)
    named = nodes.filter(pl.col(c.PLATFORM) == _ANY)
    everywhere = given.filter(pl.col(c.PLATFORM) == _ANY)[c.ALIAS]
    led_on = pl.concat([followed, everywhere])
    roots = named.filter(~pl.col(c.ALIAS).is_in(led_on.implode()))
    _refuse_conflicts(roots, given)
    cycles = named.join(roots, on="component", how="anti")
    heads = (
        pl.concat([roots, cycles]).group_by("component").agg(pl.col(c.ALIAS).min().alias(CANONICAL))
    )
    pairs = nodes.join(heads, on="component").join(given, on=[c.PLATFORM, c.ALIAS], how="semi")
    meanings = pairs.group_by(c.ALIAS).agg(
        pl.col(CANONICAL).n_unique().alias("n"), pl.col(CANONICAL).first()
    )
    common = meanings.filter(pl.col("n") == 1).select(
        pl.lit(None, pl.String).alias(c.PLATFORM), c.ALIAS, CANONICAL
    )
    whole = pl.concat([pairs.select(list(_RESOLVED)), common]).unique()
    return whole.filter(pl.col(c.ALIAS) != pl.col(CANONICAL)).sort(c.PLATFORM, c.ALIAS)


def canonical(frame: pl.DataFrame, aliases: pl.DataFrame) -> pl.DataFrame:
    """The same rows with user and item ids replaced by those they are aliases of.

    Args:
        frame: has user_id or item_id or both, and perhaps platform: a row's platform must then be
            the alias's. Rows without a platform follow aliases that mean the same everywhere.
        aliases: as for `resolve`.

    Raises:
        DataError: as for `resolve`.
    """
    people, products = by_kind(aliases)
    for name, own in ((c.USER_ID, people), (c.ITEM_ID, products)):
        found = resolve(own)
        if name in frame.columns and not found.is_empty():
            frame = _replaced(frame, name, found)
    return frame


def by_kind(aliases: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Aliases of people, and aliases of products (those with a `PRODUCT` platform)."""
    of_product = pl.col(c.PLATFORM).fill_null(_ANY).str.contains(rf"^{PRODUCT}(:|$)")
    return aliases.filter(~of_product), aliases.filter(of_product)


def moves(aliases: pl.DataFrame) -> pl.DataFrame:
    """What a store has to rewrite: columns old and new, for ids that mean the same everywhere."""
    common = resolve(aliases).filter(pl.col(c.PLATFORM).is_null())
    return common.select(pl.col(c.ALIAS).alias("old"), pl.col(CANONICAL).alias("new"))


def _groups(given: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Ids by group, and the aliases that mean the same on every platform they are of.

    Such an alias is followed wherever it is named. Following one can make another mean the same
    everywhere, so this is repeated until nothing changes.
    """
    followed = pl.Series(c.ALIAS, [], pl.String)
    while True:
        nodes = _components(given, followed)
        group = given.join(nodes, on=[c.PLATFORM, c.ALIAS]).group_by(c.ALIAS, maintain_order=True)
        same = group.agg(pl.col("component").n_unique().alias("n")).filter(pl.col("n") == 1)
        if len(same) == len(followed):
            return nodes, followed
        followed = same[c.ALIAS]


def _components(given: pl.DataFrame, followed: pl.Series) -> pl.DataFrame:
    """platform, alias and the number of the group each id belongs to."""
    ends = given.select(pl.lit(_ANY).alias(c.PLATFORM), pl.col(c.USER_ID).alias(c.ALIAS))
    nodes = pl.concat([given.select(c.PLATFORM, c.ALIAS), ends]).unique().sort(c.PLATFORM, c.ALIAS)
    nodes = nodes.with_row_index("node")
    start = given.join(nodes, on=[c.PLATFORM, c.ALIAS], maintain_order="left")["node"]
    named = nodes.filter(pl.col(c.PLATFORM) == _ANY).select(pl.col(c.ALIAS), "node")
    end = given.select(pl.col(c.USER_ID).alias(c.ALIAS)).join(
        named, on=c.ALIAS, maintain_order="left"
    )["node"]
    bridged = given.filter(pl.col(c.ALIAS).is_in(followed.implode()))
    bridges = bridged.join(nodes, on=[c.PLATFORM, c.ALIAS]).join(named, on=c.ALIAS, suffix="_any")
    rows = np.concatenate([start.to_numpy(), bridges["node"].to_numpy()])
    cols = np.concatenate([end.to_numpy(), bridges["node_any"].to_numpy()])
    links = sparse.coo_array((np.ones(len(rows), np.int8), (rows, cols)), (len(nodes), len(nodes)))
    _, group = connected_components(links, directed=False)
    return nodes.select(c.PLATFORM, c.ALIAS, pl.Series("component", group))


def _refuse_conflicts(roots: pl.DataFrame, given: pl.DataFrame) -> None:
    several = roots.group_by("component").agg(pl.col(c.ALIAS).sort().alias("ids"))
    several = several.filter(pl.col("ids").list.len() > 1).sort(pl.col("ids").list.first())
    if several.is_empty():
        return
    ids = several["ids"][0].to_list()
    shared = given.filter(pl.col(c.USER_ID).is_in(ids)).sort(c.ALIAS)
    twice = shared.filter(pl.col(c.ALIAS).is_duplicated())
    alias = [*twice[c.ALIAS], *shared[c.ALIAS], ids[0]][0]
    raise DataError(
        f"alias {alias!r} joins {' and '.join(map(repr, ids[:3]))}, which are not aliases of each "
        f"other ({len(several)} such groups); if they are one, add a row that says so"
    )


def _replaced(frame: pl.DataFrame, name: str, found: pl.DataFrame) -> pl.DataFrame:
    """Looks an id up under the row's platform, else among aliases for any platform."""
    platform = pl.col(c.PLATFORM) if c.PLATFORM in frame.columns else pl.lit(None, pl.String)
    on = pl.lit(None, pl.String) if name == c.ITEM_ID else platform
    own = found.select(pl.col(c.PLATFORM).alias("_on"), pl.col(c.ALIAS).alias(name), CANONICAL)
    general = own.filter(pl.col("_on") == _ANY).select(name, pl.col(CANONICAL).alias("_general"))
    joined = (
        frame.with_columns(on.alias("_on"))
        .join(own, on=["_on", name], how="left", nulls_equal=True, maintain_order="left")
        .join(general, on=name, how="left", maintain_order="left")
    )
    new = pl.coalesce(CANONICAL, "_general", name).alias(name)
    return joined.with_columns(new).select(frame.columns)

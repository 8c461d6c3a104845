"""How unequally a shop's events fall on its items: table, curves, pictures and a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.dataset import Dataset
from tailrec.items import Float64Array, Int64Array
from tailrec.pages import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Cell,
    canvas,
    html_table,
    number,
    page,
    png,
    png_image,
    write_bytes,
)
from tailrec.tail.segments import DEFINITIONS, Definition, popularity_order, tiers

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.figure import Figure

COLOURS: Final = {"head": BLUE, "middle": ORANGE, "tail": GREEN, "cold": GREY}
DRAWN: Final[Definition] = "pareto"
PAGE_LINES: Final = 20


def gini(counts: Int64Array) -> float:
    """Gini coefficient of events over items: 0 where all have as many, near 1 where one has all.

    Args:
        counts: int64 [I], events of each item, items without events included.

    Returns:
        ``sum((2 r - I - 1) n_r) / (I sum(n))`` with ranks r rising with events n; at most
        ``1 - 1/I``. NaN without events.

    Source:
        Gini 1912; the form is that of Sen 1973, On Economic Inequality.
    """
    rising = np.sort(counts).astype(np.float64)
    n = len(rising)
    if not rising.sum():
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * rising).sum() / (n * rising.sum()))


def lorenz(counts: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Points of the Lorenz curve, least popular items first.

    Args:
        counts: int64 [I], events of each item, at least one of them above 0.

    Returns:
        Shares of items and shares of events, float64 [I + 1] each, from (0, 0) to (1, 1).

    Raises:
        ValueError: there are no events.
    """
    if not counts.sum():
        raise ValueError(f"{len(counts)} items without any events have no Lorenz curve")
    events = np.concatenate([[0], np.cumsum(np.sort(counts))]) / counts.sum()
    return np.linspace(0, 1, len(counts) + 1), events


def tail_table(data: Dataset) -> pl.DataFrame:
    """How many items each tier holds and how much of the events falls on them.

    Returns:
        One row a definition and tier, in the order of `DEFINITIONS` and `TIERS`: definition,
        tier, items, items_share, events, events_share, events_per_item (null without items).
    """
    counts = data.item_counts
    rows = []
    for definition in DEFINITIONS:
        code = tiers(counts, definition)
        items = np.bincount(code, minlength=len(c.TIERS))
        events = np.bincount(code, counts, len(c.TIERS)).astype(np.int64)
        rows += [
            (definition, tier, int(items[row]), int(events[row]))
            for row, tier in enumerate(c.TIERS)
        ]
    table = pl.DataFrame(rows, ["definition", "tier", "items", "events"], orient="row")
    items_share = pl.col("items") / max(data.n_items, 1)
    events_share = pl.col("events") / max(data.n_events, 1)
    per_item = pl.when(pl.col("items") > 0).then(pl.col("events") / pl.col("items"))
    return table.select(
        "definition",
        "tier",
        "items",
        items_share.alias("items_share"),
        "events",
        events_share.alias("events_share"),
        per_item.alias("events_per_item"),
    )


def curve_table(data: Dataset) -> pl.DataFrame:
    """The numbers behind the pictures: every item, most popular first.

    Returns:
        [I] rows: rank (from 1), item_id, events, items_share and events_share (of this item
        and all more popular ones), then the item's tier by each of `DEFINITIONS`.
    """
    counts = data.item_counts
    order = popularity_order(counts)
    named = np.asarray(c.TIERS)
    return pl.DataFrame(
        {
            c.RANK: np.arange(1, len(order) + 1),
            c.ITEM_ID: data.catalog.table[c.ITEM_ID].gather(order),
            "events": counts[order],
            "items_share": np.arange(1, len(order) + 1) / max(len(order), 1),
            "events_share": np.cumsum(counts[order]) / max(data.n_events, 1),
        }
    ).with_columns(
        pl.Series(name, named[tiers(counts, name)[order]], dtype=pl.String) for name in DEFINITIONS
    )


def draw_rank_frequency(counts: Int64Array) -> "Figure":
    """Events of each item over its rank, both logarithmic, coloured by tier (``pareto``).

    Args:
        counts: int64 [I], events of each item, at least one of them above 0.
    """
    order = popularity_order(counts)
    code = tiers(counts, DRAWN)[order]
    top = counts[order[: len(order) - len(order) * 4 // 5]].sum() / counts.sum()
    figure, axes = canvas(
        f"The most popular 20% of the items take {top:.0%} of the events",
        "rank of the item",
        "events of the item",
    )
    for tier, name in enumerate(c.TIERS[:-1]):
        rank = np.flatnonzero(code == tier)
        if len(rank):
            label = f"{name}: {len(rank):,} items, {counts[order[rank]].sum():,} events"
            axes.plot(rank + 1, counts[order[rank]], color=COLOURS[name], lw=3, label=label)
            axes.axvspan(rank[0] + 0.9, rank[-1] + 1.1, color=COLOURS[name], alpha=0.12, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.9, len(counts) * 1.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    cold = int((counts == 0).sum())
    title = "" if not cold else f"not drawn: {cold:,} cold items (no events)"
    axes.legend(title=title, loc="lower left", frameon=False)
    return figure


def draw_lorenz(counts: Int64Array) -> "Figure":
    """The Lorenz curve below the line of equality, tiers shaded (``pareto``).

    Args:
        counts: int64 [I], events of each item, at least one of them above 0.
    """
    across, up = lorenz(counts)
    figure, axes = canvas(
        f"Share of events by share of items (Gini {gini(counts):.2f})",
        "share of items, least popular first",
        "share of events",
    )
    code = tiers(counts, DRAWN)[popularity_order(counts)[::-1]]
    for tier, name in reversed(list(enumerate(c.TIERS))):
        at = np.flatnonzero(code == tier)
        if len(at):
            span = slice(at[0], at[-1] + 2)  # points stand between the items
            share = up[at[-1] + 1] - up[at[0]]
            label = f"{name}: {len(at) / len(counts):.1%} of items, {share:.1%} of events"
            axes.fill_between(
                across[span], up[span], color=COLOURS[name], alpha=0.55, lw=0, label=label
            )
    axes.plot(across, up, color="black", lw=2)
    axes.plot([0, 1], [0, 1], color="black", lw=1, ls="--", label="all items alike")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="upper left", frameon=False)
    return figure


def write_report(data: Dataset, folder: Path) -> list[Path]:
    """Write table, curves, pictures and a page that needs no other file.

    Each file is written beside its place and renamed into it, the page last, so that a reader
    never meets half a file.

    Args:
        data: histories and catalogue.
        folder: made where it is missing; files of the same names are replaced.

    Returns:
        Paths of tail.csv, items.csv, rank_frequency.png, lorenz.png and index.html.

    Raises:
        ValueError: there are no events to report on.
    """
    counts = data.item_counts
    if not counts.sum():
        raise ValueError(f"{data.n_items} items without any events give no report; ingest events")
    pictures = {
        "rank_frequency.png": png(draw_rank_frequency(counts)),
        "lorenz.png": png(draw_lorenz(counts)),
    }
    table, curve = tail_table(data), curve_table(data)
    files = {
        "tail.csv": table.write_csv().encode(),
        "items.csv": curve.write_csv().encode(),
        **pictures,
        "index.html": _page(data, table, curve, pictures).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [write_bytes(folder / name, content) for name, content in files.items()]


def _page(
    data: Dataset, table: pl.DataFrame, curve: pl.DataFrame, pictures: dict[str, bytes]
) -> str:
    images = "".join(png_image(content, name) for name, content in pictures.items())
    summary = (
        f"{data.n_items:,} items, {data.n_users:,} people, {data.n_events:,} events; "
        f"Gini {gini(data.item_counts):.3f}."
    )
    items = _shown(_titled(data, curve.head(PAGE_LINES)))
    return page(
        _TITLE,
        f"<h1>{_TITLE}</h1><p>{summary}</p>"
        f"<section><h2>Tiers</h2>{_TIERS_SAID}{_shown(table)}</section>"
        f"<section><h2>Curves</h2>{images}</section>"
        f"<section><h2>The most popular items</h2>{items}</section>",
    )


def _titled(data: Dataset, curve: pl.DataFrame) -> pl.DataFrame:
    titles = data.catalog.text((c.TITLE,))
    own = [titles[data.catalog.index[item_id]] for item_id in curve[c.ITEM_ID]]
    return curve.insert_column(2, pl.Series(c.TITLE, own, dtype=pl.String))


def _shown(table: pl.DataFrame) -> str:
    """A table as HTML."""
    head = [name.replace("_", " ") for name in table.columns]
    rows = [[_cell(*pair) for pair in row.items()] for row in table.iter_rows(named=True)]
    return html_table(head, rows)


def _cell(name: str, value: object) -> Cell:
    if isinstance(value, float):
        return number(f"{value:.1%}" if name.endswith("_share") else f"{value:,.1f}")
    if isinstance(value, int):
        return number(f"{value:,}")
    return Cell("" if value is None else str(value))


_TITLE: Final = "The long tail of this shop"
_TIERS_SAID: Final = """<p><b>pareto</b>: the least popular 80 % of the items are the tail.
<b>mass</b>: the head takes 80 % of the events, the rest is the tail. <b>rare</b>: 1 to 5 events.
<b>knee</b>: beyond the knee of the popularity curve. Cold items have no events. Pictures show
<b>pareto</b>.</p>"""

"""Marked places of a slate go to the highest bids, at second prices, within budgets."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tailrec.dataset import DAY_US
from tailrec.errors import DataError
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    blank,
)
from tailrec.kernels import compiled, kernel_view

SPONSORED: Final = "sponsored"
"""The column of a slate that marks paid places: the number of the campaign, else `ORGANIC`."""
CHARGE: Final = "charge"
"""The column of a slate that says what a click on a paid place costs; 0 elsewhere."""
CAMPAIGN: Final = "campaign"
"""The column of offers that says whose they are: the number of a campaign."""
ORGANIC: Final = -1
"""In `SPONSORED`: nobody paid for the place."""
HEADROOM: Final = 0.05
"""The part of a budget by which spending may run ahead of an even day at its start."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledSponsored:
    """Campaigns as arrays by catalogue number; `Sponsored.compiled` makes them.

    Attributes:
        names: of the C campaigns; a campaign's number is its place here.
        ptr: int64 [I + 1], bounds of the items' campaigns.
        campaign: int16 [X], campaigns of the items, rising within an item.
        terms: float64 [C, 2], bid for a click and budget of a day.
        frequency: int32 [C], showings to one person a day, at most.
        times: int64 [C, 2], first instant and the one after the last, microseconds since 1970.
        places: int32 [N], places that are sold, 0 the top, rising.
        reserve: least price of a click.
        floor: least share of the score an item needs of what it is held against.
        by_best: items are held against the best of the slate, not of the rest below the place.
        unknown: ids the campaigns name and the catalogue lacks.
    """

    names: tuple[str, ...]
    ptr: Int64Array
    campaign: NDArray[np.int16]
    terms: Float64Array
    frequency: Int32Array
    times: Int64Array
    places: Int32Array
    reserve: float
    floor: float
    by_best: bool
    unknown: tuple[str, ...]

    @property
    def items(self) -> Int32Array:
        """int32 [S], catalogue numbers of the items that any campaign is about."""
        return np.flatnonzero(self.on_offer).astype(np.int32)

    @property
    def on_offer(self) -> BoolArray:
        """bool [I], the items that any campaign is about."""
        return np.asarray(np.diff(self.ptr) > 0)

    def bids(self, now: int, spent: Float64Array) -> Float64Array:
        """What each campaign bids for a click at an instant.

        It is the recipe's bid times `paced`, and no more than is left of the budget. Nothing is
        bid before a campaign starts, from its end on, and once its budget is spent. The day is
        that of UTC; where a campaign starts or ends within it, its budget is spread over the
        part it runs.

        Args:
            now: microseconds since 1970.
            spent: float64 [C], charges of this day's clicks so far.

        Returns:
            float64 [C]; 0: the campaign stays out.

        Raises:
            DataError: spent is not of as many campaigns.
        """
        if spent.shape != (len(self.names),):
            raise DataError(f"spent is {spent.shape}; there are {len(self.names)} campaigns")
        midnight = now - now % DAY_US
        starts = np.maximum(self.times[:, 0], midnight)
        ends = np.minimum(self.times[:, 1], midnight + DAY_US)
        runs = (starts <= now) & (now < ends)
        gone = np.where(runs, (now - starts) / np.maximum(ends - starts, 1), 0.0)
        bid, budget = self.terms.T
        offered = np.minimum(bid * paced(budget, spent, gone), budget - spent)
        return np.where(runs, np.maximum(offered, 0), 0)

    def offers(self, pools: ItemsBatch) -> ItemsBatch:
        """What could be sold of pools: an entry for each item and each campaign about it.

        Args:
            pools: [B, P] scored items, padded at the end.

        Returns:
            [B, M] in the order of the pools, an item's campaigns by number; the columns of the
            pools, and `CAMPAIGN`, int16.

        Raises:
            DataError: a pool holds an item the campaigns were not compiled for.
        """
        self._check(pools.ids)
        row, place = np.nonzero(pools.ids != PADDING)
        item = pools.ids[row, place]
        n_each = self.ptr[item + 1] - self.ptr[item]
        n_row = np.bincount(row, n_each, len(pools)).astype(np.int64)
        row, place, item = np.repeat([row, place, item], n_each, axis=1)
        # Entries of a row, and of an item, follow each other: both are counted from their first.
        at = np.arange(len(row)) - (np.cumsum(n_row) - n_row)[row]
        nth = np.arange(len(row)) - np.repeat(np.cumsum(n_each) - n_each, n_each)
        shape = (len(pools), int(n_row.max(initial=0)))
        ids = np.full(shape, PADDING, np.int32)
        scores = np.full(shape, -np.inf, np.float32)
        ids[row, at], scores[row, at] = item, pools.scores[row, place]
        whose = np.full(shape, ORGANIC, np.int16)
        whose[row, at] = self.campaign[self.ptr[item] + nth]
        columns = {CAMPAIGN: whose}
        for name, values in pools.columns.items():
            columns[name] = blank(shape, values.dtype)
            columns[name][row, at] = values[row, place]
        return ItemsBatch(ids, scores, columns)

    def placed(
        self,
        slates: ItemsBatch,
        offers: ItemsBatch,
        p_click: Float32Array,
        bids: Float64Array,
        *,
        shown: Int32Array | None = None,
    ) -> ItemsBatch:
        """Slates with the places that are sold, marked, and the price of a click on each.

        From the top, each place for sale goes to the offer with the highest p·bid among those
        that may have it; the items below move down, and the last ones leave a full slate. The
        price is the smallest bid that had still won: the next p·bid of another campaign, over
        the winner's own p, but at least the reserve. Ties go to the offer that comes first.

        An offer may have a place if its campaign has none yet in the slate, its bid meets the
        reserve, its score meets the floor, and its item stands further down, or not at all,
        without being paid for: nobody pays for what they have, and nothing is shown twice. A
        place below the end of a short slate is not sold.

        Args:
            slates: [B, K] in the order shown, padded at the end.
            offers: [B, M] as `offers` gives them; scores as in the slates.
            p_click: [B, M], probability of a click on each offer, in 0..1.
            bids: float64 [C], as `bids` gives them.
            shown: int32 [B, C], how often each person was shown each campaign this day; None:
                never.

        Returns:
            [B, K] with the columns of the slates, `SPONSORED` (int16) and `CHARGE` (float32). An
            item that was in no place before has its offer's values in the columns; what the
            offers lack is -1 in whole numbers, else 0, false or None.

        Raises:
            DataError: an argument is of other requests, items or campaigns, or a probability is
                not in 0..1.

        Source:
            Edelman, Ostrovsky and Schwarz 2007, doi:10.1257/aer.97.1.242; Varian 2007,
            doi:10.1016/j.ijindorg.2006.10.002.
        """
        seen = np.zeros((len(slates), len(self.names)), np.int32) if shown is None else shown
        self._check_offers(slates, offers, p_click, (bids, seen))
        own = np.full(slates.ids.shape, PADDING, np.int32)
        sold = np.full(slates.ids.shape, PADDING, np.int32)
        charge = np.zeros(slates.ids.shape, np.float32)
        n_offers = offers.ids.shape[1]
        _sell(
            (kernel_view(slates.ids), kernel_view(slates.scores)),
            (
                kernel_view(offers.ids),
                kernel_view(offers.scores),
                kernel_view(offers.columns[CAMPAIGN], np.int32),
                kernel_view(p_click, np.float64),
            ),
            (
                kernel_view(bids, np.float64),
                kernel_view(self.frequency),
                kernel_view(seen, np.int32),
                kernel_view(self.places),
            ),
            (self.reserve, self.floor, self.by_best),
            (own, sold, charge, np.zeros(n_offers, np.int32), np.zeros(n_offers, np.bool_)),
        )
        return _carried(slates, offers, (own, sold), charge)

    def _check(self, ids: Int32Array) -> None:
        # Neither numpy nor the kernel notices an item that is not there.
        if ids.size and not PADDING <= ids.min() <= ids.max() < len(self.ptr) - 1:
            raise DataError(
                f"a pool holds item number {ids.max()}; the campaigns were compiled for "
                f"{len(self.ptr) - 1} items, compile them for this catalogue"
            )

    def _check_offers(
        self,
        slates: ItemsBatch,
        offers: ItemsBatch,
        p_click: Float32Array,
        campaigns: tuple[Float64Array, Int32Array],
    ) -> None:
        bids, shown = campaigns
        n = len(self.names)
        wrong = {
            "offers": (len(offers), len(slates)),
            "p_click": (p_click.shape, offers.ids.shape),
            "bids": (bids.shape, (n,)),
            "shown": (shown.shape, (len(slates), n)),
        }
        for name, (has, needs) in wrong.items():
            if has != needs:
                raise DataError(f"{name} is {has} for {len(slates)} slates; {needs} is needed")
        if CAMPAIGN not in offers.columns:
            raise DataError(f"offers have columns {list(offers.columns)}; {CAMPAIGN} is needed")
        real = offers.ids != PADDING
        whose, chance = offers.columns[CAMPAIGN][real], p_click[real]
        if whose.size and not 0 <= whose.min() <= whose.max() < n:
            raise DataError(f"an offer is of campaign {whose.max()}; there are {n}")
        if not ((chance >= 0) & (chance <= 1)).all():
            raise DataError(f"p_click goes from {chance.min()} to {chance.max()}; it lies in 0..1")
        self._check(slates.ids)
        self._check(offers.ids)


def paced(budget: Float64Array, spent: Float64Array, gone: Float64Array) -> Float64Array:
    """What bids are multiplied by so that budgets last their day.

    1 while no more is spent than on an even day so far; falling in proportion to what is spent
    beyond that, and 0 from `HEADROOM` of the budget at the start of the day, of which ever less
    is allowed until its end. A spent budget gives 0 at any time. Nothing is remembered, so that
    all workers that read the same counters bid alike.

    Args:
        budget: float64 [C], of a day, above 0.
        spent: float64 [C], of it so far.
        gone: float64 [C], share of the day that is gone, in 0..1.

    Returns:
        float64 [C], in 0..1.

    Source:
        Balseiro and Gur 2019, doi:10.1287/mnsc.2018.3174: bids are shaded by a multiplier that
        every step moves by what was spent beyond an even course; the sum of such steps is the
        lead over that course. Agarwal et al. 2014, doi:10.1145/2623330.2623366, for spending
        along a curve.
    """
    ahead = spent - budget * gone
    allowed = budget * HEADROOM * (1 - gone)
    falling = 1 - np.divide(ahead, allowed, out=np.zeros_like(allowed), where=allowed > 0)
    return np.where(spent < budget, np.clip(falling, 0, 1), 0)


def _carried(
    slates: ItemsBatch,
    offers: ItemsBatch,
    sources: tuple[Int32Array, Int32Array],
    charge: Float32Array,
) -> ItemsBatch:
    """Slates of what stood at places `own` of the slates, else at `sold` of the offers."""
    own, sold = sources
    kept, paid = own != PADDING, sold != PADDING
    new = paid & ~kept
    stood = np.nonzero(kept)[0], own[kept]
    bought = np.nonzero(new)[0], sold[new]

    def put(values: Array, offered: Array | None, out: Array) -> Array:
        out[kept] = values[stood]
        if offered is not None:
            out[new] = offered[bought]
        return out

    columns = {
        name: put(values, offers.columns.get(name), blank(own.shape, values.dtype))
        for name, values in slates.columns.items()
    }
    mark = np.full(own.shape, ORGANIC, np.int16)
    mark[paid] = offers.columns[CAMPAIGN][np.nonzero(paid)[0], sold[paid]]
    return ItemsBatch(
        put(slates.ids, offers.ids, np.full(own.shape, PADDING, np.int32)),
        put(slates.scores, offers.scores, np.full(own.shape, -np.inf, np.float32)),
        {**columns, SPONSORED: mark, CHARGE: charge},
    )


@compiled
def _sell(
    slates: tuple[Array, Array],
    offers: tuple[Array, Array, Array, Array],
    campaigns: tuple[Array, Array, Array, Array],
    terms: tuple[float, float, bool],
    found: tuple[Array, Array, Array, Array, Array],
) -> None:
    """Fill `own`, `sold` and `charge` [B, K]; `found` ends with room for the offers of a row.

    `own` is where an item stood in the slate and `sold` which offer has the place, if any.
    """
    (ids, _), (items, _, whose, p), (bids, _, _, places) = slates, offers, campaigns
    own, sold, charge, at, out = found
    for row in range(len(ids)):
        size = 0
        while size < ids.shape[1] and ids[row, size] != PADDING:
            size += 1
        _enter(ids[row, :size], offers, row, campaigns, (terms[0], at, out))
        following, due = 0, 0
        moved = np.zeros(size, np.bool_)
        for place in range(ids.shape[1]):
            while following < size and moved[following]:
                following += 1
            if following == size:
                break
            best, need = PADDING, 0.0
            if due < len(places) and places[due] == place:
                due += 1
                need = _needed(slates, row, (following, size), moved, terms)
                best = _highest(offers, row, bids, (out, at, following, need), PADDING)
            if best == PADDING:
                own[row, place] = following
                following += 1
                continue
            winner = whose[row, best]
            rival = _highest(offers, row, bids, (out, at, following, need), winner)
            price = terms[0]
            if rival != PADDING:
                price = max(price, bids[whose[row, rival]] * p[row, rival] / p[row, best])
            # Rounding may lift the quotient of two equal offers above the bid.
            charge[row, place] = min(price, bids[winner])
            sold[row, place], own[row, place] = best, at[best]
            if at[best] != PADDING:
                moved[at[best]] = True
            for m in range(len(out)):
                out[m] = out[m] or whose[row, m] == winner or items[row, m] == items[row, best]


@compiled
def _enter(
    slate: Array,
    offers: tuple[Array, Array, Array, Array],
    row: int,
    campaigns: tuple[Array, Array, Array, Array],
    state: tuple[float, Array, Array],
) -> None:
    """Fill which offers are out whatever the place, and where the items of the others stand."""
    (items, _, whose, p), (bids, frequency, shown, _), (reserve, at, out) = offers, campaigns, state
    for m in range(len(out)):
        item, campaign = items[row, m], whose[row, m]
        out[m] = item == PADDING or bids[campaign] < reserve or bids[campaign] * p[row, m] <= 0
        out[m] = out[m] or shown[row, campaign] >= frequency[campaign]
        at[m] = PADDING
        if not out[m]:
            for place in range(len(slate)):
                if slate[place] == item:
                    at[m] = place


@compiled
def _needed(
    slates: tuple[Array, Array],
    row: int,
    rest: tuple[int, int],
    moved: Array,
    terms: tuple[float, float, bool],
) -> float:
    """The least score of what is sold before the rest of a slate."""
    (_, scores), (_, floor, by_best) = slates, terms
    best = -np.inf
    for at in range(0 if by_best else rest[0], rest[1]):
        if by_best or not moved[at]:
            best = max(best, scores[row, at])
    if floor == 0:
        return -np.inf
    return floor * best if best > 0 else best


@compiled
def _highest(
    offers: tuple[Array, Array, Array, Array],
    row: int,
    bids: Array,
    state: tuple[Array, Array, int, float],
    but: int,
) -> int:
    """The offer with the highest p·bid that may have a place, of all campaigns but one."""
    (_, scores, whose, p), (out, at, following, need) = offers, state
    best, highest = PADDING, 0.0
    for m in range(len(out)):
        if out[m] or whose[row, m] == but or scores[row, m] < need:
            continue
        rank = bids[whose[row, m]] * p[row, m]
        if rank > highest and (at[m] == PADDING or at[m] > following):
            best, highest = m, rank
    return best

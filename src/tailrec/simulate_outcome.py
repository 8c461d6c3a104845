"""What came of ways of making slates: sums by day, times of new items, ratios with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.evaluation.significance import Bootstrap
from tailrec.items import Float64Array, Int32Array, Int64Array
from tailrec.simulate_answers import Answers, Stage

FIGURES: Final = (
    "impressions",
    "exposure",
    "clicks",
    "sales",
    "revenue",
    "expected_sales",
    "expected_revenue",
    "tail_exposure",
    "tail_sales",
    "expected_tail_sales",
    "new_exposure",
    "new_sales",
    "expected_new_sales",
)
"""Figures of a visit. Exposure is impressions weighed by the true attention of their places.
Expected sales are the sum of the true chances: what sales are, less the luck. The tail is that
of the catalogue at the start; items that came later are `new` and not counted there."""

COMPARED: Final = ("expected_sales", "expected_tail_sales", "expected_new_sales", "sales")


def figures_of(stage: Stage, answers: Answers) -> dict[str, Float64Array]:
    """The `FIGURES` of every visit of a day, float64 [B] each."""
    there = answers.rows >= 0
    item = np.maximum(answers.rows, 0)
    price = stage.shop.items[c.PRICE].to_numpy()[item]
    whole = {
        "impressions": there,
        "exposure": answers.looked,
        "clicks": answers.clicked,
        "sales": answers.bought,
        "revenue": answers.bought * price,
        "expected_sales": answers.expected,
        "expected_revenue": answers.expected * price,
    }
    figures = {name: values.sum(axis=1, dtype=np.float64) for name, values in whole.items()}
    for group, members in (("tail", stage.tail), ("new", stage.new)):
        own = members[item]
        for name in ("exposure", "sales", "expected_sales"):
            of_group = name.replace("sales", f"{group}_sales").replace(
                "exposure", f"{group}_exposure"
            )
            figures[of_group] = (whole[name] * own).sum(axis=1)
    return figures


class Milestones:
    """When each new item of one world had its first impressions.

    Args:
        stage: the shop.
        milestone: impressions to which items are timed.
    """

    def __init__(self, stage: Stage, milestone: int) -> None:
        self._stage = stage
        self._milestone = milestone
        self._shown = np.zeros(len(stage.new), np.int64)
        self._hours = np.full(len(stage.new), np.nan)

    def count(self, day: int, rows: Int32Array) -> None:
        """Count what was shown on a day: int32 [B, K], visits in the order of time."""
        flat = rows[rows >= 0]
        now = self._shown + np.bincount(flat, minlength=len(self._shown))
        crossed = (self._shown < self._milestone) & (now >= self._milestone)
        for item in np.flatnonzero(crossed & self._stage.new):
            visit = np.nonzero(rows == item)[0][self._milestone - self._shown[item] - 1]
            seconds = self._stage.seconds[day][visit] - self._stage.shop.truth.born_s[item]
            self._hours[item] = seconds / 3600
        self._shown = now

    def table(self) -> pl.DataFrame:
        """One row a new item: item_id, created_at, impressions, hours (null: not reached)."""
        new = np.flatnonzero(self._stage.new)
        return self._stage.shop.items.select(c.ITEM_ID, c.CREATED_AT)[new].with_columns(
            pl.Series("impressions", self._shown[new]),
            pl.Series("hours", self._hours[new]).fill_nan(None),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of the visits in each arm's world.

    Attributes:
        visitors: int32 [V], rows of the users' table; the same visits for every arm.
        day: int32 [V], number of the day, from 0.
        figures: by arm, then by name of `FIGURES`: float64 [V].
        launches: one row an arm and item that came after the start: arm, item_id, created_at,
            impressions, hours (from its arrival to its milestone of impressions; null where it
            was not reached).
    """

    visitors: Int32Array
    day: Int32Array
    figures: Mapping[str, Mapping[str, Float64Array]]
    launches: pl.DataFrame

    def daily(self) -> pl.DataFrame:
        """One row an arm and day: arm, day, visits, and the sums of the `FIGURES`."""
        n_days = int(self.day.max(initial=-1)) + 1
        visits = np.bincount(self.day, minlength=n_days)
        parts = [
            pl.DataFrame(
                {"arm": [arm] * n_days, "day": np.arange(n_days), "visits": visits}
                | {name: np.bincount(self.day, own[name], n_days) for name in FIGURES}
            )
            for arm, own in self.figures.items()
        ]
        return pl.concat(parts)

    def totals(self) -> pl.DataFrame:
        """One row an arm: sums of all days, and what the tail and new items have of them.

        Columns: arm, visits, the `FIGURES`, tail_exposure_share, new_exposure_share,
        launched (new items that reached the milestone), median_hours (to it, of those).
        """
        sums = self.daily().group_by("arm", maintain_order=True).agg(pl.all().exclude("day").sum())
        times = self.launches.group_by("arm", maintain_order=True).agg(
            launched=pl.col("hours").count(), median_hours=pl.col("hours").median()
        )
        shares = [
            (pl.col(f"{group}_exposure") / pl.col("exposure")).alias(f"{group}_exposure_share")
            for group in ("tail", "new")
        ]
        return sums.with_columns(shares).join(times, on="arm", how="left", maintain_order="left")

    def ratios(
        self,
        base: str,
        *,
        figures: Sequence[str] = COMPARED,
        draws: int = 2000,
        rng: Generator,
    ) -> pl.DataFrame:
        """What every other arm has for one of a base arm, by a paired bootstrap over visitors.

        Args:
            base: an arm.
            figures: names of `FIGURES`; one that is 0 for the base is left out.
            draws: how many resamples.
            rng: draws them.

        Returns:
            One row an arm and figure: arm, figure, low, ratio, high, p (uncorrected). The
            bounds hold 95 % of the draws.

        Raises:
            DataError: there is no such arm or figure.
        """
        self._check(base, figures)
        asked = [
            (arm, name)
            for arm in self.figures
            for name in figures
            if arm != base and self.figures[base][name].any()
        ]
        pairs = [(self.figures[arm][name], self.figures[base][name]) for arm, name in asked]
        found = Bootstrap(self.visitors, draws=draws, rng=rng).ratios(pairs)
        rows = [
            (arm, name, *one.interval, one.p) for (arm, name), one in zip(asked, found, strict=True)
        ]
        names = {"arm": pl.String, "figure": pl.String} | dict.fromkeys(
            ("low", "ratio", "high", "p"), pl.Float64
        )
        return pl.DataFrame(rows, schema=names, orient="row")

    def course(self, base: str, figure: str, *, draws: int = 500, rng: Generator) -> pl.DataFrame:
        """What every other arm had until each day for one of a base arm, as `ratios` says.

        Args:
            base: an arm.
            figure: one of `FIGURES`.
            draws: how many resamples.
            rng: draws them.

        Returns:
            One row an arm and day: arm, day, low, ratio, high. Days on which the base had
            nothing yet are left out.

        Raises:
            DataError: there is no such arm or figure.
        """
        self._check(base, [figure])
        until = [self.day <= day for day in range(int(self.day.max(initial=-1)) + 1)]
        asked = [
            (arm, day)
            for arm in self.figures
            for day, those in enumerate(until)
            if arm != base and self.figures[base][figure][those].any()
        ]
        of_base = self.figures[base][figure]
        pairs = [
            (self.figures[arm][figure] * until[day], of_base * until[day]) for arm, day in asked
        ]
        found = Bootstrap(self.visitors, draws=draws, rng=rng).ratios(pairs)
        rows = [(*key, *one.interval) for key, one in zip(asked, found, strict=True)]
        names = {"arm": pl.String, "day": pl.Int64} | dict.fromkeys(
            ("low", "ratio", "high"), pl.Float64
        )
        return pl.DataFrame(rows, schema=names, orient="row")

    def _check(self, base: str, figures: Sequence[str]) -> None:
        if base not in self.figures or not set(figures) <= set(FIGURES):
            raise DataError(
                f"base {base!r} and figures {list(figures)}; there are the arms "
                f"{', '.join(self.figures)} and the figures {', '.join(FIGURES)}"
            )


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Worlds of several shops as one; their people are different people.

    Bounds then say how sure figures are for these shops, not for shops of another kind.

    Args:
        outcomes: of the same arms.

    Raises:
        DataError: there is none, or arms differ.
    """
    arms = {tuple(one.figures) for one in outcomes}
    if len(arms) != 1:
        raise DataError(f"{len(outcomes)} outcomes with the arms {sorted(arms)}; give equal ones")
    first = np.cumsum([0, *(int(one.visitors.max(initial=-1)) + 1 for one in outcomes)])
    visitors = [one.visitors + at for one, at in zip(outcomes, first, strict=False)]
    figures = {arm: joined([one.figures[arm] for one in outcomes]) for arm in outcomes[0].figures}
    return Outcome(
        np.concatenate(visitors).astype(np.int32),
        np.concatenate([one.day for one in outcomes]),
        figures,
        pl.concat([one.launches for one in outcomes]),
    )


def joined(days: Sequence[Mapping[str, Float64Array]]) -> dict[str, Float64Array]:
    """Figures of all visits, one day or world after the other."""
    return {name: np.concatenate([day[name] for day in days]) for name in FIGURES}


def numbered(stage: Stage) -> tuple[Int32Array, Int32Array]:
    """Visitors and days of all visits, int32 [V] each."""
    sizes: Int64Array = np.array([len(own) for own in stage.visitors])
    return np.concatenate(stage.visitors), np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

"""Fairness of one recommender's slates: groups of items by how they are treated, and people.

A group's exposure is its share of the looks at the slates, its merit its share of the targets,
and its treatment the one over the other. Looks and targets of several splits add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.comparison_pictures import HISTORIES, shortened
from tailrec.contender import Contender
from tailrec.data.split import Split
from tailrec.errors import DataError
from tailrec.evaluation.fairness import (
    NO_GROUP,
    Gap,
    generalised_lorenz,
    group_exposure,
    group_gap,
    item_exposure,
    treatment,
    welfare,
    worst_off,
)
from tailrec.evaluation.groups import history_groups
from tailrec.items import Array, BoolArray, Float64Array, Int32Array
from tailrec.pages import BLACK, BLUE, GREY, ORANGE, literal, png, tidy, write_bytes
from tailrec.reranking.attention import dcg
from tailrec.reranking.grouping import GROUP_WORDS, GROUPS, groups_of, is_group
from tailrec.tail.exposure_report import gini
from tailrec.tail.segments import Definition, tiers

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_TARGETS: Final = 10
"""Targets a group has, at least, to be judged alone: of fewer, treatment is mostly luck."""
SHOWN: Final = 15
"""Groups in a table or a picture, at most."""
JUDGED: Final = "judged"
"""The part of a figure's name that says it is of the groups judged alone."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Items put together by a field, on every split.

    Attributes:
        by: the field.
        names: of the G groups, sorted.
        codes: int32 [I] of each split, `NO_GROUP` where an item has no value.
    """

    by: str
    names: list[str]
    codes: list[Int32Array]


@dataclass(frozen=True, slots=True)
class FairView:
    """How groups of items, and people, are treated by one recommender.

    Attributes:
        by: the field that items are put together by.
        at: places of a slate that are looked at.
        groups: a row a group, those judged alone first, the worst off first among them: group,
            items (of the latest split), targets, exposure and merit (shares of what all groups
            have), treatment (null without targets), judged.
        ungrouped: items without a value, and their shares of all exposure and all targets.
        figures: of the groups and of the people, by name; what is not defined is left out.
        accuracy: the figure that people are compared by.
        people: how it differs between people by length of history; None where all are of one
            group.
        n_requests: of each of those groups.
    """

    by: str
    at: int
    groups: pl.DataFrame
    ungrouped: dict[str, float]
    figures: dict[str, float]
    accuracy: str
    people: Gap | None
    n_requests: dict[str, int]

    @property
    def worst(self) -> pl.DataFrame:
        """The first `SHOWN` of the groups."""
        return self.groups.head(SHOWN)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        people = self.people
        return {
            "by": self.by,
            "at": self.at,
            "groups": self.groups.to_dicts(),
            "ungrouped": self.ungrouped,
            "figures": self.figures,
            "people": people
            and {
                "figure": self.accuracy,
                "means": {
                    name: {"requests": self.n_requests[name], **mean._asdict()}
                    for name, mean in people.means.items()
                },
                "best": people.best,
                "worst": people.worst,
                "gap": people.gap._asdict(),
                "ratio": people.ratio and people.ratio._asdict(),
            },
        }


def group_items(splits: Sequence[Split], by: str, definition: Definition) -> Grouping:
    """Put the items of splits together by a field.

    Args:
        splits: of one dataset.
        by: as `reranking.grouping.is_group` takes it.
        definition: of the tail, for `tier`, which is counted on each split's train part.

    Raises:
        DataError: there is no such field, fewer than two groups, or no target in any of them.
    """
    if not is_group(by):
        raise DataError(f"{by!r} puts no items together; known are {GROUP_WORDS}")
    found = [groups_of(_table(split, definition), by) for split in splits]
    names = sorted({name for _, own in found for name in own})
    if len(names) < 2:
        raise DataError(_too_few(_table(splits[-1], definition), by, names))
    number = {name: code for code, name in enumerate(names)}
    codes = []
    for code, own in found:
        # The last place is that of `NO_GROUP`.
        place = np.array([*(number[name] for name in own), NO_GROUP], np.int32)
        codes.append(place[code])
    if not any((code[s.target] != NO_GROUP).any() for code, s in zip(codes, splits, strict=True)):
        raise DataError(
            f"nobody turned to an item with any {by} in the test part; no merit to share"
        )
    return Grouping(by, names, codes)


def fair_view(
    one: Contender,
    splits: Sequence[Split],
    groups: Grouping,
    *,
    at: Sequence[int],
    least: int = LEAST_TARGETS,
    rng: np.random.Generator,
) -> FairView:
    """Who is shown, and who is served well, on slates that were evaluated.

    Args:
        one: the recommender; all its fits count alike.
        splits: those it was evaluated on, in order.
        groups: of their items.
        at: slate lengths; exposure is over the longest, people are compared by NDCG at the
            shortest.
        least: targets a group has, at least, to be judged alone.
        rng: draws people for the bounds of the gap between them.

    Returns:
        Figures are named as those of `evaluation.fairness.fairness`. Beside them stand
        `treatment_welfare` and `group_exposure_gini` with the same of merit; a figure of
        treatment that ends in ``/judged`` leaves out groups with fewer targets than `least`.

    Raises:
        DataError: no slate shows an item of any group.

    Cost:
        Linear in the places shown, and `evaluation.fairness.group_gap` once.

    Source:
        Singh and Joachims 2018, arXiv:1802.07281; see docs/fairness.md.
    """
    k = max(at)
    looks, asked = _sums(one, splits, groups, k)
    exposure, targets = looks[:-1], asked[:-1]
    if not exposure.sum():
        raise DataError(
            f"no slate shows an item with any {groups.by}; there is no exposure to share"
        )
    accuracy = f"ndcg@{min(at)}"
    values = one.per_user(accuracy)
    figures = _figures_of_groups(exposure, targets, least, k)
    figures[f"{accuracy}/worst_off"] = worst_off(values)
    figures[f"{accuracy}/welfare"] = welfare(values)
    masks = _histories(splits)
    return FairView(
        groups.by,
        k,
        _groups_table(groups, exposure, targets, least),
        {
            "items": int((groups.codes[-1] == NO_GROUP).sum()),
            "exposure": float(looks[-1] / looks.sum()),
            "targets": float(asked[-1] / asked.sum()),
        },
        {name: value for name, value in figures.items() if not np.isnan(value)},
        accuracy,
        group_gap(values, masks, users=one.users, rng=rng) if len(masks) > 1 else None,
        {name: int(mask.sum()) for name, mask in masks.items()},
    )


def draw_fairness(view: FairView) -> "Figure":
    """Lorenz curves of exposure and of merit over groups, and the treatment of the worst off."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_curves(left, view)
    _draw_treatment(right, view)
    figure.suptitle(
        literal(f"Fairness by {view.by}: {len(view.groups):,} groups, slates of {view.at}"),
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    return figure


def fairness_table(view: FairView) -> pl.DataFrame:
    """Every figure of a view: figure, group (null for all), value, low, high (null if unknown)."""
    k, people = view.at, view.people
    rows: list[tuple[object, ...]] = [
        (name, None, value, None, None) for name, value in view.figures.items()
    ]
    if people is not None:
        rows.append((f"{view.accuracy}/gap", None, people.gap.mid, people.gap.low, people.gap.high))
        rows += [
            (view.accuracy, name, mean.mid, mean.low, mean.high)
            for name, mean in people.means.items()
        ]
    named = {"exposure": f"exposure@{k}", "treatment": f"treatment@{k}"}
    for column in ("items", "targets", "exposure", "merit", "treatment"):
        figure = named.get(column, column)
        rows += [
            (figure, name, value, None, None)
            for name, value in view.groups.select("group", column).drop_nulls().iter_rows()
        ]
    schema: dict[str, pl.DataType] = {"figure": pl.String(), "group": pl.String()}
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64())
    return pl.DataFrame(rows, schema, orient="row", strict=False)


def write_fairness(view: FairView, folder: Path) -> list[Path]:
    """Write the picture and the figures of a view, each in one step.

    Args:
        view: what was measured.
        folder: made where it is missing; files of the same names are replaced.

    Returns:
        Paths of fairness.png and fairness.csv.
    """
    files = {
        "fairness.png": png(draw_fairness(view)),
        "fairness.csv": fairness_table(view).write_csv().encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [write_bytes(folder / name, content) for name, content in files.items()]


def _table(split: Split, definition: Definition) -> pl.DataFrame:
    """A split's items, with the tiers that the train part gives them."""
    tier = np.array(c.TIERS)[tiers(split.train.item_counts, definition)]
    return split.train.catalog.table.with_columns(pl.Series(c.TIER, tier, pl.String))


def _too_few(table: pl.DataFrame, by: str, names: Sequence[str]) -> str:
    """Why items cannot be compared by a field, and by which ones they can."""
    fields = [name for name in GROUPS if name not in (by, c.TITLE)]
    others = [name for name in fields if len(groups_of(table, name)[1]) > 1]
    had = f"every {by} there is is {names[0]!r}" if names else f"none has any {by}"
    return f"{len(table):,} items, and {had}; take another field ({', '.join(others) or 'none'})"


def _sums(
    one: Contender, splits: Sequence[Split], groups: Grouping, k: int
) -> tuple[Float64Array, Float64Array]:
    """Looks and targets of groups, of items without one in the last place: float64 [G + 1]."""
    n = len(groups.names) + 1
    looks, asked = np.zeros(n), np.zeros(n)
    for split, part, code in zip(splits, one.parts, groups.codes, strict=True):
        place = np.where(code == NO_GROUP, np.int32(n - 1), code)
        asked += np.bincount(place[split.target], minlength=n)
        for run in part.runs:
            own = item_exposure(run.ids, dcg(k), len(code))
            looks += group_exposure(own, place, n) / len(part.runs)
    return looks, asked


def _judged(targets: Float64Array, least: int) -> BoolArray:
    judged: BoolArray = targets >= max(least, 1)
    return judged


def _groups_table(
    groups: Grouping, exposure: Float64Array, targets: Float64Array, least: int
) -> pl.DataFrame:
    code = groups.codes[-1]
    table = pl.DataFrame(
        {
            "group": groups.names,
            "items": np.bincount(code[code != NO_GROUP], minlength=len(groups.names)),
            "targets": targets.astype(np.int64),
            "exposure": exposure / exposure.sum(),
            "merit": targets / targets.sum(),
            "treatment": treatment(exposure, targets).of_groups,
            "judged": _judged(targets, least),
        }
    ).with_columns(pl.col("treatment").fill_nan(None))
    order = ("judged", "treatment", "targets", "exposure", "group")
    falling = [True, False, True, True, False]
    return table.sort(*order, descending=falling, nulls_last=True)


def _figures_of_groups(
    exposure: Float64Array, targets: Float64Array, least: int, k: int
) -> dict[str, float]:
    found = treatment(exposure, targets)
    shares: Array = exposure / exposure.sum()
    counts: Array = targets
    figures = {
        f"treatment_ratio@{k}": found.ratio,
        f"treatment_difference@{k}": found.difference,
        f"worst_treatment@{k}": found.worst,
        f"treatment_welfare@{k}": welfare(found.of_groups[targets > 0]),
        f"group_exposure_gini@{k}": gini(shares),
        "group_merit_gini": gini(counts),
    }
    own = found.of_groups[_judged(targets, least)]
    if len(own):
        worst, best = float(own.min()), float(own.max())
        figures |= {
            f"treatment_ratio@{k}/{JUDGED}": worst / best if best else np.nan,
            f"worst_treatment@{k}/{JUDGED}": worst,
            f"treatment_welfare@{k}/{JUDGED}": welfare(own),
        }
    return figures


def _histories(splits: Sequence[Split]) -> dict[str, BoolArray]:
    """Requests of all splits by length of history, groups that nobody is in left out."""
    lengths = np.concatenate([np.diff(split.queries.ptr) for split in splits])
    found = history_groups(lengths)
    return {name: found[name] for name in HISTORIES if found[name].any()}


def _draw_curves(axes: "Axes", view: FairView) -> None:
    drawn = (
        ("exposure", BLUE, f"group_exposure_gini@{view.at}"),
        ("merit", ORANGE, "group_merit_gini"),
    )
    for column, colour, name in drawn:
        across, up = generalised_lorenz(view.groups[column].to_numpy())
        label = f"{column} (Gini {view.figures[name]:.2f})"
        axes.plot(across, up / up[-1], color=colour, lw=2.2, label=label)
    axes.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--", label="all groups alike")
    axes.set_title("Who has how much of it", loc="left", fontsize=11)
    axes.set_xlabel("share of groups, those with least first")
    axes.set_ylabel("share of the exposure, of the merit")
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        axis.set_major_formatter("{x:.0%}")
        limit(0, 1.005)
    axes.legend(loc="upper left", frameon=False)
    tidy(axes)


def _draw_treatment(axes: "Axes", view: FairView) -> None:
    """Bars of the worst off, the worst on top."""
    worst = view.worst.drop_nulls("treatment")
    places = np.arange(len(worst))
    colours = [BLUE if judged else GREY for judged in worst["judged"]]
    axes.barh(places, worst["treatment"].to_numpy(), color=colours)
    for place, value in enumerate(worst["treatment"]):
        axes.annotate(
            f"{value:.2f}", (value, place), (4, 0), textcoords="offset points", va="center"
        )
    names = [literal(f"{shortened(g)} ({n:,})") for g, n in worst.select("group", "targets").rows()]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(1, color=BLACK, lw=1, ls="--")
    axes.margins(x=0.12)
    few = "" if worst["judged"].all() else "; grey: too few to judge by"
    axes.set_title(f"The worst off, and how many targets they have{few}", loc="left", fontsize=11)
    axes.set_xlabel("treatment: share of the exposure over share of the merit")
    tidy(axes)
    axes.grid(visible=False, axis="y")

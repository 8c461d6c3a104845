"""What must hold before models are compared; a comparison in which it does not is refused.

Each check looks at what was done, not at who did it: at the split, the tiers that were counted
and the slates that the figures are said to come from.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from tailrec.data.split import Split, beyond_shots
from tailrec.data.synthetic import is_synthetic
from tailrec.errors import DataError
from tailrec.evaluation.accuracy import PerUser, accuracy
from tailrec.evaluation.groups import history_groups, item_deciles, of_groups
from tailrec.evaluation.report import COLD, Evaluation
from tailrec.evaluation.tail import exposure, slot_share, tail_accuracy
from tailrec.evaluation.unbiased import recall_ips
from tailrec.hits import count_targets, find_hits
from tailrec.items import BoolArray, Int32Array, Int64Array
from tailrec.tail.segments import DEFINITIONS, is_tail

CHECKS: Final = (
    "no target of a request is among what was known of its user, and nothing learnt from is from "
    "after the cut or of a withheld item; the same for what options are chosen on",
    "nobody who asks, and nothing asked for, was made up",
    "the tiers of items are counted on train alone",
    "overall and tail figures come from the same slates",
    "every model answered every request, and each figure is of the same users for all",
)
"""What `check_comparison` proves, for people."""
SHOWN: Final = 3
"""Figures that a fault names; how many more there are is told."""


def check_comparison(
    splits: Sequence[Split], evaluations: Mapping[str, Sequence[Evaluation]]
) -> None:
    """Refuse a comparison whose figures would mean nothing.

    Args:
        splits: what was asked.
        evaluations: by model, one for each split, in their order.

    Raises:
        DataError: names each fault, the split and the model; see `CHECKS`.

    Cost:
        that of the accuracy figures of `evaluate`, for each model and split.
    """
    faults = [
        f"{name} has figures of {len(each)} of {len(splits)} splits"
        for name, each in evaluations.items()
        if len(each) != len(splits)
    ]
    for place, split in enumerate([] if faults else splits):
        faults += _overlap(split) + _made_up(split)
        own = {name: each[place] for name, each in evaluations.items()}
        for name, evaluation in own.items():
            # Each check takes for granted what the one before it looks for.
            found = (
                _dropped(split, evaluation)
                or _counted_elsewhere(split, evaluation)
                or _other_slates(split, evaluation)
            )
            faults += [f"{name} on {split.name}: {fault}" for fault in found]
        if not faults:
            faults += [f"{split.name}: {fault}" for fault in _other_users(own)]
    if faults:
        raise DataError(f"the comparison is not valid: {'; '.join(faults)}")


def _overlap(split: Split) -> list[str]:
    """Targets that were known, and events that could not be."""
    asked = _pairs(split, np.repeat(split.users, np.diff(split.target_ptr)), split.target)
    told = np.repeat(split.users, np.diff(split.queries.ptr))
    known = {"the histories of the requests": _pairs(split, told, split.queries.item)}
    faults = []
    # Whatever is chosen on validation comes from the whole events, so they must not tell either.
    for name, data in {"train": split.train, "what options are chosen on": split.whole}.items():
        known[name] = _pairs(split, data.user, data.item)
        if late := 0 if split.cut is None else int((data.time >= split.cut).sum()):
            faults.append(f"{late} events of {name} are from after the cut")
        if gone := int(beyond_shots(split, data).sum()):
            faults.append(f"{gone} events of {name} are of items that are withheld")
    for name, pairs in known.items():
        # The targets of a request are unique; that the others need not be does no harm.
        if both := int(np.isin(asked, pairs, assume_unique=True).sum()):
            faults.append(f"{both} targets are in {name}")
    return [f"{split.name}: {fault}" for fault in faults]


def _made_up(split: Split) -> list[str]:
    """People who ask, and items asked for, that augmentation made."""
    people = int(is_synthetic(split.train.user_ids[split.users]).sum())
    items = int(is_synthetic(split.train.catalog.ids[split.target]).sum())
    told = {"requests are of people": people, "targets are items": items}
    return [f"{split.name}: {n} {what} that were made up" for what, n in told.items() if n]


def _pairs(split: Split, users: Int32Array, items: Int32Array) -> Int64Array:
    """One number for each user and item."""
    return users.astype(np.int64) * split.train.n_items + items


def _dropped(split: Split, evaluation: Evaluation) -> list[str]:
    """Requests that the figures leave out."""
    answered, n = len(evaluation.ids), len(split)
    if answered != n or not np.array_equal(evaluation.users, split.users):
        return [f"{answered} slates for {n} requests, or of other users; users were dropped"]
    if short := {name: own.shape for name, own in evaluation.per_user.items() if own.shape != (n,)}:
        return [f"figures {short} are not of {n} requests; users were dropped"]
    overall = [f"{metric}@{k}" for k in _lengths(evaluation) for metric in ("recall", "ndcg")]
    if not overall or not set(overall) <= evaluation.per_user.keys():
        return [f"overall figures are missing, of {', '.join(overall) or 'every length'}"]
    undefined = {name: int(np.isnan(evaluation.per_user[name]).sum()) for name in overall}
    return [f"{name} leaves out {count} requests" for name, count in undefined.items() if count]


def _lengths(evaluation: Evaluation) -> list[int]:
    """Slate lengths that there are overall figures of."""
    names = [name.partition("@") for name in evaluation.per_user if "/" not in name]
    return sorted({int(k) for metric, _, k in names if metric in ("recall", "ndcg")})


def _counted_elsewhere(split: Split, evaluation: Evaluation) -> list[str]:
    """Tiers that are not those of the train part."""
    honest = _honest(split)
    return [
        f"tier {name!r} holds {int(mask.sum())} items, by the counts of train "
        f"{int(honest[name].sum())}; it was counted on something else"
        for name, mask in evaluation.tiers.items()
        if name in honest and not np.array_equal(mask, honest[name])
    ]


def _honest(split: Split) -> dict[str, BoolArray]:
    """The tiers that have a name, by the counts of train."""
    counts = split.train.item_counts
    tails: dict[str, BoolArray] = {name: is_tail(counts, name) for name in DEFINITIONS}
    return tails | {COLD: counts == 0} | item_deciles(counts)


def _other_slates(split: Split, evaluation: Evaluation) -> list[str]:
    """Figures that are not those of the slates, worked out anew from them."""
    tiers, at = _honest(split) | dict(evaluation.tiers), _lengths(evaluation)
    anew = _worked_out(split, evaluation.ids, tiers, at)
    of_users = evaluation.per_user
    wrong = [
        name
        for name in of_users
        if name in anew and not np.allclose(anew[name], of_users[name], equal_nan=True)
    ]
    means = exposure(evaluation.ids, split.train.item_counts, at)
    for name, mask in tiers.items():
        shares = slot_share(evaluation.ids, mask, at)
        means |= {f"{metric}/{name}": share for metric, share in shares.items()}
    defined = {name: own for name, own in of_users.items() if not np.isnan(own).all()}
    means |= {name: float(np.nanmean(own)) for name, own in defined.items()}
    wrong += [
        name
        for name, value in evaluation.figures.items()
        if name not in wrong and not np.isclose(value, means.get(name, np.nan))
    ]
    if not wrong:
        return []
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    shown = ", ".join(wrong[:SHOWN])
    return [f"{shown}{more}: not from the slates that the other figures come from"]


def _worked_out(
    split: Split, ids: Int32Array, tiers: Mapping[str, BoolArray], at: Sequence[int]
) -> PerUser:
    """Figures of slates [B, K] by the targets they hold; overall, by tiers, by groups."""
    hits = find_hits(ids, split.target_ptr, split.target)
    targets, cold = (split.target_ptr, split.target), split.cold_users
    groups = history_groups(np.diff(split.queries.ptr)) | {"cold_users": cold, "known_users": ~cold}
    figures = accuracy(hits, count_targets(*targets), at)
    figures |= of_groups(figures, groups)
    for name, mask in tiers.items():
        own = tail_accuracy(hits, ids, count_targets(*targets, mask), mask, at)
        figures |= {f"{metric}/{name}": values for metric, values in own.items()}
    return figures | recall_ips(hits, ids, targets, split.train.item_counts, at=at)


def _other_users(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Figures that one model has of other users, or other items, than the first one."""
    first, *others = evaluations
    model = evaluations[first]
    faults = []
    for other in others:
        own = evaluations[other]
        faults += [
            f"tier {name!r} holds other items for {other} than for {first}"
            for name, mask in model.tiers.items()
            if name in own.tiers and not np.array_equal(mask, own.tiers[name])
        ]
        faults += [
            f"{name} is of other users for {other} than for {first}"
            for name, values in model.per_user.items()
            if name in own.per_user
            and name.startswith(("recall", "ndcg"))
            and not np.array_equal(np.isnan(values), np.isnan(own.per_user[name]))
        ]
    return faults

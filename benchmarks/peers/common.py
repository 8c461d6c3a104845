"""What the runners of all peers share: reading a split, judging on validation, slates and cards.

It is imported inside each peer's own environment, by whatever pandas and numpy are there, and
knows nothing of tailrec but its files: ``write_split`` in `tailrec.data.exchange` says what they
are. A runner describes its recommender as a `Peer` and leaves the rest to `answer`; one that must
search in a way of its own takes the pieces.
"""

import argparse
import json
import os
import platform
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

USER, ITEM, RANK, SCORE, TIME = "user_id", "item_id", "rank", "score", "timestamp"
K = 20
HALF_LIFE_DAYS = 30.0

Options = dict[str, Any]
Draw = Callable[[np.random.Generator], Any]
Recommend = Callable[[pd.Series], pd.DataFrame]


class FitError(Exception):
    """Options with which nothing can be learnt: numbers grow without bounds, for one."""


@dataclass(frozen=True)
class Peer:
    """A recommender of a library, and where its good options are to be looked for.

    Attributes:
        library: its name, as it is installed.
        fit: from events and options to a function from user_ids to slates (user_id, item_id,
            rank, score); whom it knows nothing of, it leaves out. `FitError` where it fails.
        first: the options tried first, good ones for most data.
        draw: the options of a further try.
        also: further packages whose versions the card names.
    """

    library: str
    fit: Callable[[pd.DataFrame, Options], Recommend]
    first: Options
    draw: Callable[[np.random.Generator], Options]
    also: Sequence[str] = ()


@dataclass(frozen=True)
class Validation:
    """The inner split: what to learn from, some of its requests, and what would be right."""

    events: pd.DataFrame
    users: pd.Series
    targets: pd.DataFrame

    def judge(self, slates: pd.DataFrame) -> float:
        """NDCG@10 of slates, filled up as they would be for the test."""
        return ndcg_at_10(filled(slates, self.users, self.events), self.targets, len(self.users))


def drawn(space: Mapping[str, Draw]) -> Callable[[np.random.Generator], Options]:
    """A draw of options, each by its own."""
    return lambda rng: {name: draw(rng) for name, draw in space.items()}


def one_of(*values: Any) -> Draw:
    """A draw of one of some values, each as likely."""
    return lambda rng: values[rng.integers(len(values))]


def between(low: float, high: float) -> Draw:
    """A draw from low to high, each order of magnitude as likely."""
    return lambda rng: float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def within(low: float, high: float) -> Draw:
    """A draw from low to high, each value as likely."""
    return lambda rng: round(float(rng.uniform(low, high)), 3)


def read_events(folder: Path) -> pd.DataFrame:
    """user_id, item_id, timestamp (UTC, without its zone), weight; a user's oldest first."""
    events = pd.read_parquet(folder / "train.parquet")
    events[TIME] = events[TIME].dt.tz_localize(None)
    return events


def read_users(folder: Path) -> pd.Series:
    """Who asks, once each."""
    return pd.read_parquet(folder / "requests.parquet")[USER]


def read_validation(split: Path, sample: int, seed: int) -> Validation:
    """The inner split with `sample` of its requests, or all where there are fewer."""
    folder = split / "validation"
    users = read_users(folder)
    users = users.sample(min(len(users), sample), random_state=seed)
    targets = pd.read_parquet(folder / "targets.parquet")
    return Validation(read_events(folder), users, targets[targets[USER].isin(users)])


def ndcg_at_10(slates: pd.DataFrame, targets: pd.DataFrame, n_requests: int) -> float:
    """Mean over all requests; one without a slate counts 0."""
    hits = slates[slates[RANK] <= 10].merge(targets, on=[USER, ITEM])
    gains = (1 / np.log2(hits[RANK] + 1)).groupby(hits[USER]).sum()
    sizes = targets.groupby(USER).size().clip(upper=10)
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(10) + 2))])[sizes]
    return float((gains.reindex(sizes.index, fill_value=0) / ideal).sum() / n_requests)


def popular_lately(events: pd.DataFrame) -> np.ndarray:
    """item_ids, those with the most events first; an event counts half after 30 days."""
    age = (events[TIME].max() - events[TIME]).dt.total_seconds() / 86_400
    counts = np.exp2(-age / HALF_LIFE_DAYS).groupby(events[ITEM]).sum()
    return counts.sort_values(ascending=False, kind="stable").index.to_numpy()


def filled(slates: pd.DataFrame, users: pd.Series, events: pd.DataFrame) -> pd.DataFrame:
    """Short and missing slates, filled up with what is popular lately and not yet had."""
    listed = popular_lately(events)
    sizes = slates.groupby(USER).size().reindex(users.to_numpy(), fill_value=0)
    short = sizes.index[sizes < K]
    had = events[events[USER].isin(short)].groupby(USER)[ITEM].agg(set)
    own = slates[slates[USER].isin(short)].groupby(USER)[ITEM].agg(set)
    lowest = slates.groupby(USER)[SCORE].min()
    rows = []
    for user in short:
        taken = had.get(user, set()) | own.get(user, set())
        first, floor = int(sizes[user]), float(lowest.get(user, 0.0))
        items = [item for item in listed[: len(taken) + K] if item not in taken][: K - first]
        rows += [(user, item, first + at, floor - at) for at, item in enumerate(items, 1)]
    if not rows:
        return slates
    more = pd.DataFrame(rows, columns=[USER, ITEM, RANK, SCORE]).astype({RANK: "int64"})
    return pd.concat([slates, more], ignore_index=True)


def check(slates: pd.DataFrame, users: pd.Series, events: pd.DataFrame) -> None:
    """Make sure that slates are what was asked for.

    Raises:
        ValueError: a request has no slate or nobody made it, a place or an item stands twice in
            a slate, places are not 1, 2, 3, ..., or an item is one that the user had.
    """
    if set(slates[USER]) != set(users):
        raise ValueError(f"slates of {slates[USER].nunique()} users, {len(users)} requests")
    ranks = slates.groupby(USER)[RANK]
    if slates.duplicated([USER, RANK]).any() or (ranks.max() != ranks.size()).any():
        raise ValueError("the places of a slate must be 1, 2, 3, ...")
    if slates.duplicated([USER, ITEM]).any():
        raise ValueError("an item stands twice in a slate")
    if had := len(slates.merge(events[[USER, ITEM]], on=[USER, ITEM])):
        raise ValueError(f"{had} items in slates are ones that their users had")


def parser(doc: str, models: Sequence[str]) -> argparse.ArgumentParser:
    """The command line that every runner understands; the first model is the default."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("split", type=Path, help="a folder that write_split has written")
    made.add_argument("out", type=Path, help="Parquet file of slates, its card beside it")
    made.add_argument("--model", choices=models, default=models[0])
    made.add_argument("--minutes", type=float, default=1.0, help="of the search, at most")
    made.add_argument("--sample", type=int, default=5_000, help="validation requests looked at")
    made.add_argument("--options", type=json.loads, help="JSON of options, without a search")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=1)
    return made


def search(peer: Peer, given: argparse.Namespace) -> tuple[Options, list[Options]]:
    """The options with the highest NDCG@10 on validation, and all that were tried.

    The first are tried in any case; what has begun within the minutes is finished. Options that
    cannot be fitted count as finding nothing.
    """
    inner = read_validation(given.split, given.sample, given.seed)
    rng = np.random.default_rng(given.seed)
    options, course = peer.first, []
    started = perf_counter()
    while not course or perf_counter() - started < given.minutes * 60:
        if options in [tried["options"] for tried in course]:
            options = peer.draw(rng)
            continue
        begun = perf_counter()
        try:
            figure = inner.judge(peer.fit(inner.events, options)(inner.users))
        except FitError as error:
            print(f"{options}: {error}", flush=True)
            figure = 0.0
        seconds = round(perf_counter() - begun, 2)
        course.append({"options": options, "ndcg@10": round(figure, 5), "seconds": seconds})
        print(f"NDCG@10 {figure:.4f} in {seconds:.1f} s: {options}", flush=True)
    return max(course, key=lambda tried: tried["ndcg@10"])["options"], course


def answer(peer: Peer, given: argparse.Namespace) -> None:
    """Choose options on validation, fit on train, write slates and card."""
    with threadpool_limits(given.threads):
        events, users = read_events(given.split), read_users(given.split)
        started = perf_counter()
        options, course = (given.options, []) if given.options else search(peer, given)
        searched, started = perf_counter() - started, perf_counter()
        recommend = peer.fit(events, options)
        fitted, started = perf_counter() - started, perf_counter()
        slates = recommend(users)
        answered = perf_counter() - started
    slates = filled(slates, users, events)
    check(slates, users, events)
    card = {
        "model": given.model,
        "library": peer.library,
        "versions": versions(peer.library, *peer.also),
        "options": options,
        "validation": course,
        "seeds": [given.seed],
        "search_seconds": round(searched, 1),
        "fit_seconds": round(fitted, 2),
        "slate_seconds": answered / len(users),
        "peak_bytes": peak_bytes(),
    }
    write(given.out, slates, card, given.split)


def versions(*packages: str) -> dict[str, str]:
    """What is installed of some packages, and which Python runs them."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(out: Path, slates: pd.DataFrame, card: Options, split: Path) -> None:
    """Write slates and card, whole or not at all; the card says which split they answer."""
    out.parent.mkdir(parents=True, exist_ok=True)
    card = card | {"split": json.loads((split / "split.json").read_text("utf-8"))}
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    slates = slates.sort_values([USER, RANK])[[USER, ITEM, RANK, SCORE]]
    slates.to_parquet(beside, index=False)
    beside.replace(out)
    beside.write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    # The card last: where it is, its slates are.
    beside.replace(out.with_suffix(".json"))

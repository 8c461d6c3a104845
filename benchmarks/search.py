"""Known-item search on real catalogues: is the item found whose title a request was made from?

``python benchmarks/search.py [--only beauty,chinese] [--items 1000] [--work DIR] [--json]``
draws items of each data set and makes requests of their titles:

- ``part``: two to four of its words;
- ``typo``: the same, one letter of one word missing, added, exchanged or swapped;
- ``held``: two to four of its words, which its own title is then indexed without: only other
  fields, words spelt alike, or meaning can find it.

Half of the items (``--half choose``) are for choosing options; figures are of the other half.
MRR counts places up to 100. The tail is `pareto`, by all events. TAILREC_DATA names the data.
"""

import argparse
import json
import string
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import bm25s
import numpy as np
import polars as pl
from compare import make_shop
from sets import DATA

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.features.build import FeatureModel
from tailrec.features.fields import item_texts
from tailrec.items import Array, BoolArray, Float32Array, Float64Array, Int64Array
from tailrec.search.index import SearchIndex, SearchRecipe
from tailrec.search.spelling import Spelling
from tailrec.search.vocabulary import words_of
from tailrec.shop import Shop
from tailrec.tail.segments import is_tail

KINDS = ("part", "typo", "held")
PLACES = 100
SEED = 5
UNSPELT = Spelling(one=0)
Search = Callable[[str], Array]
"""Catalogue numbers found for some words, best first."""
Encode = Callable[[str], Float32Array]


class Request(NamedTuple):
    """Words, and the one item they are meant to find."""

    item: int
    words: str
    held: tuple[str, ...]


def drawn(titles: list[str], n: int, rng: np.random.Generator) -> list[Request]:
    """Requests of kind `part`, for items with three words or more."""
    found: list[Request] = []
    for item in rng.permutation(len(titles)):
        words = [word for word in dict.fromkeys(words_of(titles[item])) if len(word) > 1]
        if len(words) > 2 and max(map(len, words)) > 3:
            size = int(rng.integers(2, min(4, len(words) - 1) + 1))
            kept = sorted(rng.choice(len(words), size, replace=False))
            own = tuple(words[at] for at in kept)
            found.append(Request(int(item), " ".join(own), own))
        if len(found) == n:
            break
    return found


def misspelt(request: Request, rng: np.random.Generator) -> Request | None:
    """The request with one edit in a word of four letters or more, if it has one."""
    words = list(request.held)
    long = [at for at, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long:
        return None
    at = int(rng.choice(long))
    word, place = words[at], int(rng.integers(0, len(words[at])))
    letter = str(rng.choice(list(string.ascii_lowercase)))
    edits = (
        word[:place] + word[place + 1 :],
        word[:place] + letter + word[place:],
        word[:place] + letter + word[place + 1 :],
        word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
    )
    words[at] = edits[int(rng.integers(0, len(edits)))]
    return request._replace(words=" ".join(words)) if words[at] != word else misspelt(request, rng)


def without_held(catalog: Catalog, requests: list[Request]) -> Catalog:
    """The catalogue, each title without the words that its own request holds out."""
    titles = catalog.table[c.TITLE].fill_null("").to_list()
    for request in requests:
        kept = [word for word in words_of(titles[request.item]) if word not in request.held]
        titles[request.item] = " ".join(kept)
    return Catalog(catalog.table.with_columns(pl.Series(c.TITLE, titles)))


def figures(place: Int64Array, tail: BoolArray, counts: Int64Array) -> dict[str, float]:
    """MRR and Recall@10: of all, of the tail, and as if items were wanted as often as bought.

    Args:
        place: [R], of the item each request wants, 0 where it was not found.
        tail: [R], whether the item is in the tail.
        counts: [R], events of the item.
    """
    gains = np.divide(1.0, place, out=np.zeros(len(place)), where=place > 0)
    near = ((place > 0) & (place <= 10)).astype(np.float64)
    weights: dict[str, Float64Array] = {
        "": np.ones(len(place)),
        "tail_": tail.astype(np.float64),
        "demand_": counts.astype(np.float64),
    }
    found = {}
    for name, weight in weights.items():
        found[f"{name}mrr"] = float(np.average(gains, weights=weight))
        found[f"{name}recall@10"] = float(np.average(near, weights=weight))
    return found


def peer(catalog: Catalog) -> Search:
    """bm25s as it comes, over the same fields, without stop words."""
    engine = bm25s.BM25()
    texts = item_texts(catalog)
    engine.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(words: str) -> Array:
        asked = bm25s.tokenize([words], stopwords="en", show_progress=False, return_ids=False)
        items, scores = engine.retrieve(asked, k=min(PLACES, len(catalog)), show_progress=False)
        found: Array = items[0][scores[0] > 0]
        return found

    return search


def ours(index: SearchIndex, encode: Encode, counts: Int64Array, tail: float) -> Search:
    """An index, with an encoder where meaning has a share."""

    has_meaning = index.recipe.meaning and index.dense.shape[1]

    def search(words: str) -> Array:
        reading = index.read(words)
        vector = encode(reading.text) if has_meaning else None
        return index.search(reading, vector, k=PLACES, counts=counts, tail=tail).items.ids

    return search


def systems(catalog: Catalog, features: FeatureModel, counts: Int64Array) -> dict[str, Search]:
    """What is measured, by name."""
    plain = SearchRecipe(popularity=0)
    recipes = {
        "words": (plain.model_copy(update={"meaning": 0.0, "spelling": UNSPELT}), 0.0),
        "words + spelling": (plain.model_copy(update={"meaning": 0.0}), 0.0),
        "meaning": (plain.model_copy(update={"meaning": 1.0, "spelling": UNSPELT}), 0.0),
        "words + meaning": (plain.model_copy(update={"spelling": UNSPELT}), 0.0),
        "all": (plain, 0.0),
        "all + popularity": (SearchRecipe(), 0.0),
        "all, tail = 1": (SearchRecipe(), 1.0),
    }
    encoder = features.encoder
    assert encoder is not None

    @cache
    def encode(text: str) -> Float32Array:
        vector: Float32Array = encoder.encode_texts([text])[0]
        return vector

    found = {"bm25s": peer(catalog)}
    for name, (recipe, tail) in recipes.items():
        index = recipe.fit(catalog, features.features.dense)
        found[name] = ours(index, encode, counts, tail)
    return found


def place_of(item: int, found: Array) -> int:
    """From 1; 0 where the item is not there."""
    at = np.flatnonzero(found == item)
    return int(at[0]) + 1 if len(at) else 0


def measured(name: str, work: Path, n: int, half: str) -> list[dict[str, object]]:
    """Figures of one data set: a row a kind of request and system."""
    make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        data, recipe, vectors = shop.dataset(), shop.recipe.features, shop.cache
    rng = np.random.default_rng(SEED)
    catalog, counts = data.catalog, data.item_counts
    tail = is_tail(counts, "pareto")
    part = drawn(catalog.table[c.TITLE].fill_null("").to_list(), n, rng)
    typo = [wrong for request in part if (wrong := misspelt(request, rng))]
    held = without_held(catalog, part)
    whole = systems(catalog, recipe.fit(catalog, cache=vectors), counts)
    rows: list[dict[str, object]] = []
    for kind, requests in zip(KINDS, (part, typo, part), strict=True):
        of_half = [one for one in requests if one.item % 2 == (half == "report")]
        wanted = np.array([one.item for one in of_half])
        if kind == "held":
            whole = systems(held, recipe.fit(held, cache=vectors), counts)
        for system, search in whole.items():
            places = [place_of(one.item, search(one.words)) for one in of_half]
            found = figures(np.array(places), tail[wanted], counts[wanted])
            rows.append({"set": name, "kind": kind, "system": system, "n": len(wanted), **found})
    return rows


def timed(n_items: int, words: list[str], titles: list[str], dim: int) -> dict[str, object]:
    """Milliseconds of each step on a catalogue made of words of real titles."""
    rng = np.random.default_rng(SEED)
    known = np.array(sorted({word for title in titles for word in words_of(title)}), dtype=object)
    # Frequencies as in any language: the r-th word a share of 1 / r.
    often = 1 / np.arange(1, len(known) + 1)
    drawn_words = rng.choice(rng.permutation(known), (n_items, 12), p=often / often.sum())
    made = [" ".join(row) for row in drawn_words]
    ids = [str(number) for number in range(n_items)]
    dense = rng.standard_normal((n_items, dim), dtype=np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    started = perf_counter()
    index = SearchRecipe().fit(Catalog(pl.DataFrame({c.ITEM_ID: ids, c.TITLE: made})), dense)
    fit_s = perf_counter() - started
    arrays = index.arrays()
    started = perf_counter()
    index = SearchIndex.from_arrays(index.recipe, arrays, dense)
    load_ms = 1e3 * (perf_counter() - started)
    counts = rng.integers(0, 100, n_items)
    index.read("lipstikk")  # the list of words for spelling is made when first asked for
    spent: dict[str, list[float]] = {"read": [], "search": []}
    for request in words:
        began = perf_counter()
        reading = index.read(request)
        read = perf_counter()
        index.search(reading, dense[0], k=20, counts=counts)
        spent["read"].append(1e3 * (read - began))
        spent["search"].append(1e3 * (perf_counter() - read))
    middle = {f"{name}_ms_p50": float(np.median(own)) for name, own in spent.items()}
    late = {f"{name}_ms_p95": float(np.percentile(own, 95)) for name, own in spent.items()}
    vocabulary = len(index.postings.rarity)
    return {
        "items": n_items,
        "terms": vocabulary,
        "fit_s": fit_s,
        "load_ms": load_ms,
        **middle,
        **late,
    }


def chinese(n: int, half: str) -> list[dict[str, object]]:
    """Chinese titles by words alone: two pieces of three letters, then one letter exchanged."""
    texts = (DATA / "zh_ecommerce_ner" / "train.txt").read_text("utf-8").split("\n\n")
    joined = ("".join(line.split()[0] for line in text.splitlines()) for text in texts if text)
    titles = list(dict.fromkeys(joined))
    rng = np.random.default_rng(SEED)
    catalog = Catalog(pl.DataFrame({c.ITEM_ID: titles, c.TITLE: titles}))
    meaningless = np.zeros((len(titles), 0), np.float32)
    index = SearchRecipe().fit(catalog, meaningless)
    nobody = np.zeros(len(titles), np.int64)
    found = {"bm25s": peer(catalog), "all": ours(index, lambda _: meaningless[0], nobody, 0.0)}
    part, typo = [], []
    for item in rng.permutation([at for at, title in enumerate(titles) if len(title) > 8])[:n]:
        first, second = np.sort(rng.choice(len(titles[item]) - 2, 2, replace=False))
        words = f"{titles[item][first : first + 3]} {titles[item][second : second + 3]}"
        other = titles[int(rng.integers(len(titles)))][0]
        part.append(Request(int(item), words, ()))
        typo.append(Request(int(item), words[:1] + other + words[2:], ()))
    rows: list[dict[str, object]] = []
    for kind, requests in (("part", part), ("typo", typo)):
        of_half = [one for one in requests if one.item % 2 == (half == "report")]
        for system, search in found.items():
            places = np.array([place_of(one.item, search(one.words)) for one in of_half])
            every = np.ones(len(places), np.bool_)
            own = figures(places, every, np.ones(len(places), np.int64))
            row = {"set": "chinese", "kind": kind, "system": system, "n": len(places)}
            rows.append({**row, **own})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Rows in columns."""
    names = ("mrr", "recall@10", "tail_mrr", "tail_recall@10", "demand_mrr", "demand_recall@10")
    heads = "".join(f"{name.replace('recall', 'R'):>12}" for name in names)
    lines = [f"{'set':8}{'kind':6}{'system':18}{'n':>5}{heads}"]
    for row in rows:
        values = "".join(f"{row[name]:12.3f}" for name in names)
        lines.append(f"{row['set']:8}{row['kind']:6}{row['system']:18}{row['n']:5}{values}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="beauty,sports,retail,chinese", help="comma between")
    parser.add_argument("--items", type=int, default=1000, help="drawn of each set")
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--work", type=Path, help="folder of the shops, kept for another run")
    parser.add_argument("--speed", action="store_true", help="measure 100,000 made items instead")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set TAILREC_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        work, names = given.work or Path(folder), given.only.split(",")
        if given.speed:
            print(json.dumps(speed(names[0], work), indent=1))
            return
        rows = []
        for name in names:
            chosen = (given.items, given.half)
            rows += chinese(*chosen) if name == "chinese" else measured(name, work, *chosen)
    print(json.dumps(rows, indent=1) if given.json else table(rows))


def speed(name: str, work: Path) -> dict[str, object]:
    """Milliseconds of encoding real requests, and of the other steps over 100,000 items."""
    make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        catalog, recipe = Catalog(shop.store.read("items")), shop.recipe.features
        vectors = shop.cache
    titles = catalog.table[c.TITLE].drop_nulls().to_list()
    rng = np.random.default_rng(SEED)
    part = drawn(titles, 200, rng)
    typo = [wrong.words for request in part if (wrong := misspelt(request, rng))]
    encoder = recipe.text.prepare(cache=vectors)
    encode = []
    for request in part:
        began = perf_counter()
        encoder.encode_texts([request.words])
        encode.append(1e3 * (perf_counter() - began))
    written = timed(100_000, [one.words for one in part], titles, encoder.dim)
    edited = timed(100_000, typo, titles, encoder.dim)
    return {"encode_ms_p50": float(np.median(encode)), "as written": written, "misspelt": edited}


if __name__ == "__main__":
    main()

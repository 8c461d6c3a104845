"""Measures the int8 form of the packaged encoder against the original, on real titles.

    python benchmarks/encoder.py items.parquet                  # 1,000 titles for rates
    python benchmarks/encoder.py items.parquet --texts 300 --cache /tmp/encoder

Prints how many titles are longer than a limit of tokens and what the limit costs, likeness by
length, rates of both forms taken in turns, and the time of the whole catalogue.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.features.fields import item_texts
from tailrec.features.onnx import Int8, load_int8
from tailrec.features.original import Original
from tailrec.features.weights import PACKAGED, find_model, fingerprint

LIMITS = (32, 64, 128)
BOUNDS = (8, 12, 16, 24, 32, 48)
ROUNDS = 3


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """What `work` gives, the seconds it took, and the processor seconds."""
    began, used = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - began, time.process_time() - used


def print_lengths(texts: list[str], n_tokens: np.ndarray) -> None:
    """How long the texts are."""
    print(f"{len(texts):,} texts of {n_tokens.mean():.1f} tokens, the longest {n_tokens.max()}")
    for limit in LIMITS:
        print(f"  longer than {limit:3} tokens: {(n_tokens > limit).mean():.2%}")


def print_limits(model: Path, form: Callable[[int], Int8], texts: list[str]) -> None:
    """What a limit costs: time saved against likeness to the whole text."""
    whole = unit(Original(model, device="cpu", max_length=256).vectors(texts, batch_tokens=4096))
    print(f"limit of tokens, on {len(texts):,} texts:")
    for limit in LIMITS:
        vectors, _, used = timed(lambda limit=limit: unit(form(limit).vectors(texts)))
        like = (vectors * whole).sum(axis=1)
        rate = len(texts) / used
        print(f"  {limit:3}: {rate:6.0f} texts/cpu-s, cosine to the whole text {like.mean():.4f}")


def print_likeness(exact: np.ndarray, near: np.ndarray, n_tokens: np.ndarray) -> None:
    """Cosines by length, and how many of the ten nearest stay the same."""
    like = (exact * near).sum(axis=1)
    print("cosine of int8 to the original:")
    place = np.searchsorted(BOUNDS, n_tokens)
    for number in np.unique(place):
        own = like[place == number]
        upto = f"up to {BOUNDS[number]:3}" if number < len(BOUNDS) else f"above {BOUNDS[-1]:3}"
        print(f"  {upto} tokens: mean {own.mean():.4f}, least {own.min():.4f}, {len(own):,} texts")
    asked = slice(0, 500)
    tops = [np.argsort(-(v[asked] @ v.T), axis=1)[:, 1:11] for v in (exact, near)]
    shared = np.mean([np.isin(a, b).mean() for a, b in zip(*tops, strict=True)])
    print(f"  all: mean {like.mean():.4f}, least {like.min():.4f}; nearest 10 shared {shared:.3f}")


def print_rates(original: Original, form: Int8, texts: list[str]) -> None:
    """Both forms in turns, so that what else the machine does hits both."""
    ratios = []
    for number in range(ROUNDS):
        _, slow_s, slow_cpu = timed(lambda: original.vectors(texts, batch_tokens=4096))
        _, fast_s, fast_cpu = timed(lambda: form.vectors(texts))
        ratios.append((slow_s / fast_s, slow_cpu / fast_cpu))
        rates = [len(texts) / taken for taken in (slow_s, fast_s)]
        print(f"round {number + 1}: fp32 {rates[0]:5.0f}, int8 {rates[1]:5.0f} texts/s", flush=True)
    wall, cpu = np.median(ratios, axis=0)
    print(f"int8 is {wall:.2f} times as fast (median), by processor time {cpu:.2f} times")


def main() -> None:
    """Reads the arguments and prints all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", type=Path, help="Parquet file with item_id and text columns")
    parser.add_argument("--fields", nargs="+", default=[c.TITLE])
    parser.add_argument("--texts", type=int, default=1000, help="texts for rates and limits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=None, help="keeps the int8 form")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    catalog = Catalog(pl.read_parquet(given.items))
    texts = sorted({text for text in item_texts(catalog, given.fields) if text}, key=len)
    model = find_model(PACKAGED)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    n_tokens = np.array([len(entry.ids) for entry in tokenizer.encode_batch(texts)])
    print_lengths(texts, n_tokens)

    with tempfile.TemporaryDirectory() as scratch:
        mark, cache = fingerprint(model), given.cache or Path(scratch)

        def form(limit: int) -> Int8:
            return load_int8(model, mark, cache=cache, max_length=limit, threads=given.threads)

        form(64)
        some = texts[:: max(1, len(texts) // given.texts)]
        print_limits(model, form, some)
        original = Original(model, device="cpu", max_length=64)
        print_rates(original, form(64), some)
        near, taken_s, _ = timed(lambda: form(64).vectors(texts))
        print(f"the whole catalogue by int8: {taken_s:.0f} s, {len(texts) / taken_s:.0f} texts/s")
        exact, taken_s, _ = timed(lambda: original.vectors(texts, batch_tokens=4096))
        print(f"the whole catalogue by fp32: {taken_s:.0f} s, {len(texts) / taken_s:.0f} texts/s")
        print_likeness(unit(exact), unit(near), n_tokens)


if __name__ == "__main__":
    main()

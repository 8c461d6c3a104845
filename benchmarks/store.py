"""Streams events into a new store and reads histories from it: rate, memory, latency.

    python benchmarks/store.py                               # 10 million into SQLite
    python benchmarks/store.py --events 1000000 --url postgresql://postgres@/shop

The store is SQLite in a temporary folder, which is deleted, or an empty database at `--url`.
"""

import argparse
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.data.store import Store

USERS, ITEMS = 500_000, 100_000
START_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
STEP_US = 3_000_000
"""Mean time between two events of the shop."""


def batch_of(number: int, n_rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """Events in order of time; people and items as skewed as in a real shop."""
    start = START_US + number * n_rows * STEP_US
    moments = start + np.sort(rng.integers(0, n_rows * STEP_US, n_rows))
    kinds = np.array(["impression", "click", "cart", "purchase"])
    return pl.DataFrame(
        {
            c.USER_ID: (rng.beta(0.6, 2.0, n_rows) * USERS).astype(np.int64),
            c.ITEM_ID: (rng.beta(0.3, 3.0, n_rows) * ITEMS).astype(np.int64),
            c.TYPE: kinds[rng.choice(4, n_rows, p=[0.6, 0.3, 0.06, 0.04])],
            c.VALUE: rng.gamma(2.0, 10.0, n_rows).round(2),
            c.SESSION_ID: rng.integers(0, 1 << 40, n_rows),
            c.PLATFORM: ["web"] * n_rows,
            c.TIMESTAMP: pl.Series(moments).cast(c.EVENTS[c.TIMESTAMP]),
        }
    )


def ingest(store: Store, n_events: int, batch_rows: int, rng: np.random.Generator) -> float:
    """Writes the events; returns the seconds spent in `write`."""
    spent_s = 0.0
    for number in range(n_events // batch_rows):
        batch = batch_of(number, batch_rows, rng)
        began = time.perf_counter()
        n_new = store.write("events", batch)
        took_s = time.perf_counter() - began
        spent_s += took_s
        rate = f"{batch_rows / took_s:9,.0f} rows/s"
        print(
            f"batch {number + 1:3}: {n_new:,} new, {rate}, peak {peak_mib():,.0f} MiB", flush=True
        )
    return spent_s


def history_ms(store: Store, n_calls: int, rng: np.random.Generator) -> np.ndarray:
    """Wall and processor milliseconds [2, n_calls] for the last 50 events of a person.

    People are drawn by activity. Processor time is what remains of the wall time where nothing
    else runs: on a busy machine the one tells about the store and the other about the neighbours.
    """
    users = (rng.beta(0.6, 2.0, n_calls) * USERS).astype(np.int64).astype(str)
    took = np.empty((2, n_calls))
    for call, user in enumerate(users):
        began = time.perf_counter(), time.thread_time()
        store.history(user, limit=50)
        took[:, call] = time.perf_counter() - began[0], time.thread_time() - began[1]
    return took * 1000


def peak_mib() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what: str, call: object) -> None:
    """Prints how long a call takes."""
    began = time.perf_counter()
    result = call()  # type: ignore[operator]
    print(f"{what}: {time.perf_counter() - began:.2f} s  ({result})", flush=True)


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="an empty database instead of a temporary SQLite file")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=500_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        where = options.url or Path(folder) / "store.db"
        with Store.open(where, create=True) as store:
            spent_s = ingest(store, options.events, options.batch, rng)
            print(f"{options.events:,} events: {spent_s:.0f} s, {options.events / spent_s:,.0f}/s")
            print(f"peak memory while writing: {peak_mib():,.0f} MiB")
            history_ms(store, 200, rng)
            for clock, took in zip(
                ("wall", "processor"), history_ms(store, 5000, rng), strict=True
            ):
                p50, p99 = np.percentile(took, [50, 99])
                within = (took < 1).mean()
                print(f"history, {clock}: p50 {p50:.3f}, p99 {p99:.3f} ms, {within:.1%} < 1 ms")
            timed("stream all", lambda: sum(len(part) for part in store.stream("events")))
            timed("fingerprint", store.fingerprint)
            timed("span", store.span)
            timed("delete_user", lambda: store.delete_user("17"))
            print(f"peak memory: {peak_mib():,.0f} MiB")
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"files: {size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()

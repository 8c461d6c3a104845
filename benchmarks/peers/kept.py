"""Slates of slow peers, kept in the repository as catalogue numbers, and back.

A kept file holds no name of a person or product: row r is the r-th request of the exported
split, the numbers are rows of its items. Its card says which splits it is for, by fingerprint.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

KEPT = Path(__file__).parent / "slates"
SLOW = ("rectools-sasrec", "rectools-sasrec-texts", "rectools-esasrec")
K = 20


def split_folders(splits: Path) -> list[Path]:
    """Folders of the windows of an exported split, in their order."""
    return sorted((path.parent for path in splits.glob("*/split.json")), key=lambda p: int(p.name))


def keep_slates(name: str, slates: Path, splits: Path) -> None:
    """Keep the slates of slow peers on a data set."""
    for peer in SLOW:
        if not (slates / f"{peer}.parquet").exists():
            continue
        table = pl.read_parquet(slates / f"{peer}.parquet")
        parts = []
        for folder in split_folders(splits):
            users, items, split = _split(folder)
            own = table.filter(pl.col("split") == split) if "split" in table.columns else table
            numbered = own.drop_nulls("item_id").join(users, on="user_id").join(items, on="item_id")
            ids = np.full((len(users), K), -1, np.int32)
            at = (numbered["request"].to_numpy(), numbered["rank"].to_numpy() - 1)
            ids[at] = numbered["item"].to_numpy()
            parts.append(ids)
        KEPT.mkdir(exist_ok=True)
        kept = pl.DataFrame({str(rank + 1): np.concatenate(parts)[:, rank] for rank in range(K)})
        kept.write_parquet(KEPT / f"{name}-{peer}.parquet", compression="zstd")
        card = (slates / f"{peer}.json").read_text("utf-8")
        (KEPT / f"{name}-{peer}.json").write_text(card, "utf-8")


def restore_slates(name: str, slates: Path, splits: Path) -> None:
    """Write what was kept of a data set as slates for its exported splits."""
    slates.mkdir(parents=True, exist_ok=True)
    for kept in sorted(KEPT.glob(f"{name}-*.parquet")):
        peer = kept.stem.removeprefix(f"{name}-")
        numbers = pl.read_parquet(kept).to_numpy()
        tables, start = [], 0
        for folder in split_folders(splits):
            users, items, split = _split(folder)
            own = numbers[start : start + len(users)]
            start += len(users)
            # An empty slate is said by a row without an item.
            said = own >= 0
            said[:, 0] |= ~said.any(axis=1)
            request, place = np.nonzero(said)
            item = own[request, place]
            tables.append(
                pl.DataFrame(
                    {
                        "user_id": users["user_id"].gather(request),
                        "item_id": items["item_id"].gather(pl.Series(item).replace(-1, None)),
                        "rank": place + 1,
                        "split": pl.repeat(split, len(request), eager=True),
                    }
                )
            )
        pl.concat(tables).write_parquet(slates / f"{peer}.parquet")
        card = kept.with_suffix(".json").read_text("utf-8")
        (slates / f"{peer}.json").write_text(card, "utf-8")


def _split(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Requests and items of an exported split with their numbers, and its name."""
    users = pl.read_parquet(folder / "requests.parquet", columns=["user_id"])
    items = pl.read_parquet(folder / "items.parquet", columns=["item_id"])
    name = json.loads((folder / "split.json").read_text("utf-8"))["name"]
    return users.with_row_index("request"), items.with_row_index("item"), name

"""Well-known files whose columns tailrec knows."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl

from tailrec import columns as c
from tailrec.data import amazon
from tailrec.data.clean import Cleaned
from tailrec.data.cleaning import Cleaning
from tailrec.data.mapping import QUANTITY, Layout
from tailrec.data.retail import CLEANING, COUNTRY, current_names, derive
from tailrec.errors import SchemaError

Prepare = Callable[[pl.DataFrame], pl.DataFrame]
Derive = Callable[[Cleaned], dict[str, pl.DataFrame]]


@dataclass(frozen=True)
class Preset:
    """What is known of a family of files.

    Attributes:
        layouts: table → how the columns of its file become ours.
        files: pattern of a file's name → the table it holds.
        cleaning: options these files want; what the caller changes goes first.
        headers: name of a file without header → its columns.
        prepare: table → a function from raw to raw rows, before the layout applies.
        derive: makes further tables from the cleaned events.
    """

    layouts: Mapping[str, Layout]
    files: Mapping[str, str] = field(default_factory=dict)
    cleaning: Cleaning = field(default_factory=Cleaning)
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepare: Mapping[str, Prepare] = field(default_factory=dict)
    derive: Derive | None = None

    def table_of(self, path: Path) -> str | None:
        """The table a file holds, as far as its name tells."""
        name = path.name.lower()
        return next((t for pattern, t in self.files.items() if re.search(pattern, name)), None)

    def header_of(self, path: Path) -> tuple[str, ...] | None:
        """Columns of a file that has no header; None where it has one."""
        return self.headers.get(path.name.lower().removesuffix(".gz"))


def _movies(frame: pl.DataFrame) -> pl.DataFrame:
    """Genres become a category; the year in the title is an attribute as well."""
    if not {"genres", "title"} <= set(frame.columns):
        return frame
    genres = pl.col("genres").str.replace_all("|", c.CATEGORY_SEPARATOR, literal=True)
    return frame.with_columns(
        pl.when(genres != "(no genres listed)").then(genres).alias("genres"),
        pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32).alias("year"),
    )


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "online-retail": Preset(
            layouts={
                "events": Layout(
                    "events",
                    mapping={
                        c.USER_ID: "CustomerID",
                        c.ITEM_ID: "StockCode",
                        c.SESSION_ID: "InvoiceNo",
                        c.TIMESTAMP: "InvoiceDate",
                        c.TITLE: "Description",
                        c.PRICE: "UnitPrice",
                        QUANTITY: "Quantity",
                        COUNTRY: "Country",
                    },
                    fill={c.TYPE: "purchase"},
                    extra=(COUNTRY,),
                )
            },
            cleaning=CLEANING,
            prepare={"events": current_names},
            derive=derive,
        ),
        "movielens": Preset(
            layouts={
                "events": Layout(
                    "events",
                    mapping={c.USER_ID: "userId", c.ITEM_ID: "movieId", c.VALUE: "rating"},
                    fill={c.TYPE: "rating"},
                ),
                "items": Layout("items", mapping={c.ITEM_ID: "movieId", c.CATEGORY: "genres"}),
                "users": Layout("users", mapping={c.USER_ID: "userId"}),
            },
            files={r"^ratings\.": "events", r"^movies\.": "items", r"^users\.": "users"},
            headers={
                "ratings.dat": ("userId", "movieId", "rating", "timestamp"),
                "movies.dat": ("movieId", "title", "genres"),
                "users.dat": ("userId", "gender", "age", "occupation", "zip_code"),
            },
            prepare={"items": _movies},
        ),
        "amazon": Preset(
            layouts={"events": Layout("events"), "items": Layout("items")},
            files={r"^meta[_.]": "items", r"review|ratings|_5\.json": "events"},
            prepare={"events": amazon.reviews, "items": amazon.products},
        ),
    }
)


def preset_of(name: str) -> Preset:
    """A preset by name.

    Raises:
        SchemaError: there is none of that name.
    """
    if name not in PRESETS:
        raise SchemaError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]

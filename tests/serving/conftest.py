"""Servers that only tests of the service need."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.running import Running, Serve, start

from tailrec import columns as c
from tailrec.shop import Shop

SOUTHERN = "Zqsouthern"
"""A word in every id of the shop `south`, and nowhere else."""
HUSHED = "Qzhushed"
"""A word in what that shop says of its items and people, which no request ever names."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, and stops them at the end."""
    begun: list[Running] = []

    def run(*folders: Path, workers: int = 1, ready: bool = True) -> Running:
        log = tmp_path / f"server{len(begun)}.log"
        begun.append(start(list(folders), log, workers=workers, ready=ready))
        return begun[-1]

    yield run
    for running in begun:
        running.stop()


@pytest.fixture(scope="session")
def mall(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three shops behind one address, served by one worker.

    `north` is the simulated shop with scenes. `south` is small, its model has a prior, and what
    it holds is marked by `SOUTHERN` and `HUSHED`. `strict` is its twin that limits requests.
    """
    folder = tmp_path_factory.mktemp("mall")
    north = shutil.copytree(fitted_folder, folder / "north", symlinks=True)
    with (north / "tailrec.toml").open("a", encoding="utf-8") as recipe:
        recipe.write(SCENES)
    south = folder / "south"
    fill_south(south)
    strict = shutil.copytree(south, folder / "strict")
    with (strict / "tailrec.toml").open("a", encoding="utf-8") as recipe:
        recipe.write("[serve]\nrequests_per_s = 4\nburst = 6\n")
    running = start([north, south, strict], folder / "server.log")
    yield running
    running.stop()


SCENES = """
[scenes.corner]
n = 3
filter = { category = { under = "Home" } }

[scenes.cart]
n = 8
outside = 1

[scenes.again]
n = 200
seen = "show"

[scenes.fixed.rules]
pin = [{ item = "P000001", position = 2 }]
"""


def fill_south(folder: Path) -> None:
    """A small shop in which one thing sells better than all others."""
    ids = [f"{SOUTHERN}-{number}" for number in range(30)]
    words = ["amber", "birch", "copper", "denim", "ember", "flint"]
    with Shop.create(folder) as shop:
        titles = [f"{HUSHED} {words[number % 6]} lamp {number}" for number in range(30)]
        table = {c.ITEM_ID: ids, c.TITLE: titles, c.BRAND: [HUSHED] * 30}
        shop.store.write("items", pl.DataFrame(table))
        people = [f"{SOUTHERN}-u{number}" for number in range(20)]
        bought = [(user, ids[0]) for user in people[5:]]
        bought += [(user, ids[1 + row]) for row, user in enumerate(people)]
        bought += [(user, ids[2 + row]) for row, user in enumerate(people)]
        rows = pl.DataFrame(bought, schema=[c.USER_ID, c.ITEM_ID], orient="row")
        attributes = [f'{{"name": "{HUSHED}"}}'] * len(people)
        shop.store.write("users", pl.DataFrame({c.USER_ID: people, c.ATTRIBUTES: attributes}))
        shop.store.write(
            "events",
            rows.with_row_index("at").select(
                c.USER_ID,
                c.ITEM_ID,
                pl.lit("purchase").alias(c.TYPE),
                (pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(hours="at")).alias(
                    c.TIMESTAMP
                ),
            ),
        )
    (folder / "tailrec.toml").write_text(
        '[source]\nkind = "linear"\nprior = 0.05\n[features]\nencode = false\n', "utf-8"
    )
    with Shop.open(folder) as shop:
        shop.fit()

"""The main job on a simulated shop: raw files in, slates that sell the tail out, with figures."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from tailrec import columns as c
from tailrec.batch import recommended
from tailrec.comparison import Comparison, peers_named
from tailrec.comparison_report import write_report as write_comparison
from tailrec.data.ingest import IngestResult, ingest
from tailrec.features.text import Progress
from tailrec.shop import Shop
from tailrec.simulate import Simulation, simulate
from tailrec.slates import Ask, explained, titled
from tailrec.tail.exposure_report import tail_table, write_report

PEERS_SHOWN: Final = ("popular", "ease")
PLACES: Final = 8


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What a demonstration shows.

    Attributes:
        ingested: what became of each raw file.
        tiers: the tail, by four definitions.
        model: version of the fitted model.
        comparison: the engine beside popularity and EASE, on the last window of time.
        user_id: one person, with a slate and the reasons for its first item.
        slate: as a table.
        verdict: on the first item.
        parts: of its score.
    """

    ingested: list[IngestResult]
    tiers: pl.DataFrame
    model: str
    comparison: Comparison
    user_id: str
    slate: pl.DataFrame
    verdict: dict[str, Any]
    parts: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "ingested": [one.to_dict() for one in self.ingested],
            "tiers": self.tiers.to_dicts(),
            "model": self.model,
            "comparison": self.comparison.to_dict(),
            "slate": self.slate.to_dicts(),
            "explanation": {**self.verdict, "parts": self.parts.to_dicts()},
        }


def run_demo(folder: Path, world: Simulation, seed: int, progress: Progress) -> Demonstration:
    """Make a shop from simulated raw files and do the whole job on it.

    Args:
        folder: of the new shop; pictures and tables go to its reports.
        world: size and behaviour of the simulated shop.
        seed: of the simulation.
        progress: called while texts are encoded.

    Raises:
        DataError: there is a shop already.
    """
    with Shop.create(folder) as shop:
        ingested = _ingested(shop, world, seed)
        data = shop.dataset()
        write_report(data, folder / "reports" / "tail")
        fitted = shop.fit(progress=progress)
        comparison = shop.compare(
            shop.splits("time", windows=1), peers=peers_named(PEERS_SHOWN), progress=progress
        )
        write_comparison(comparison, folder / "reports" / "evaluation")
        busiest = str(data.user_ids[int((data.ptr[1:] - data.ptr[:-1]).argmax())])
        slate = titled(shop, recommended(shop, user=busiest, ask=Ask(k=PLACES)))
        verdict, parts = explained(shop, busiest, slate[c.ITEM_ID][0])
        return Demonstration(
            ingested,
            tail_table(data),
            fitted.version,
            comparison,
            busiest,
            slate,
            verdict,
            parts,
        )


def _ingested(shop: Shop, world: Simulation, seed: int) -> list[IngestResult]:
    """Raw files, with the dirt of real ones, into the shop."""
    reports = shop.folder / "reports"
    with tempfile.TemporaryDirectory() as raw:
        return [
            ingest(shop.store, path.stem, [path], rejected=reports / f"rejected-{path.stem}.csv")
            for path in simulate(world, seed=seed).write(Path(raw), dirty=True)
        ]

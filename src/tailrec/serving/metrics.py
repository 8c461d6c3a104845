"""What the service counts, for Prometheus; all workers of a server are counted together."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REQUESTS = Counter("tailrec_requests", "Requests answered.", ["shop", "method", "route", "status"])
LATENCY = Histogram(
    "tailrec_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["shop", "method", "route"],
    buckets=BUCKETS_S,
)
SHOWN = Counter("tailrec_slate_items", "Items shown in slates.", ["shop", "tier"])
FALLBACKS = Counter(
    "tailrec_fallbacks", "Answers that the model did not give.", ["shop", "fallback"]
)
EVENTS = Counter("tailrec_events", "Events made durable.", ["shop"])
LOST_SLATES = Gauge(
    "tailrec_lost_slates",
    "Served slates that could not be logged.",
    ["shop"],
    multiprocess_mode="sum",
)
MODEL = Gauge(
    "tailrec_model_info",
    "1 for the model a shop is served with.",
    ["shop", "version", "fallback"],
    multiprocess_mode="livemax",
)
_noted: dict[str, tuple[str, str]] = {}


def note_model(shop: str, version: str, fallback: str | None) -> None:
    """Say which model a shop is served with, and that it is no other any more.

    Args:
        shop: its name.
        version: of the model.
        fallback: what the model is where it is not the one that should be served.
    """
    served = (version, fallback or "")
    before = _noted.get(shop, served)
    if before != served:
        MODEL.labels(shop, *before).set(0)
    MODEL.labels(shop, *served).set(1)
    _noted[shop] = served


def exposition(folder: Path | None, shop: str) -> bytes:
    """Metrics of one shop as Prometheus reads them, and those of no shop in particular.

    Args:
        folder: where the workers count; None where there is one alone.
        shop: its name.
    """
    registry = CollectorRegistry() if folder is not None else REGISTRY
    if folder is not None:
        multiprocess.MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    shown = CollectorRegistry()
    shown.register(_Of(registry, shop))
    return generate_latest(shown)


class _Of(Collector):
    """The samples of a registry that are of one shop, or of none."""

    def __init__(self, registry: CollectorRegistry, shop: str) -> None:
        self._registry = registry
        self._shop = shop

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            kept = [s for s in metric.samples if s.labels.get("shop", "") in (self._shop, "")]
            if kept:
                metric.samples = kept
                yield metric


def forget_process(folder: Path | None) -> None:
    """Take what this process says of now, and not of all time, out of the count."""
    if folder is not None:
        multiprocess.mark_process_dead(os.getpid(), path=str(folder))  # type: ignore[no-untyped-call]

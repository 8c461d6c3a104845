"""Models over HTTP: another one is served without a failed request, and the old one again."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from tailrec.shop import Shop

if TYPE_CHECKING:
    from tests.running import Running


class Asking:
    """Asks for slates without a pause, on new connections too, and notes what answers."""

    def __init__(self, running: "Running", n_threads: int = 2) -> None:
        self.statuses: Counter[int] = Counter()
        self.models: list[str] = []
        self.errors: list[str] = []
        self._running = running
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(n_threads)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with self._running.client("read") as client:
                    for _ in range(10):
                        answer = client.post("/v1/recommend", json={"n": 5})
                        self.statuses[answer.status_code] += 1
                        if answer.status_code == 200:
                            self.models.append(answer.json()["model"])
            except httpx.HTTPError as error:
                self.errors.append(repr(error))


def served_by(running: "Running", version: str) -> Callable[[], bool]:
    """Whether every worker answers from a model."""

    def check() -> bool:
        with running.each_worker("read") as workers:
            told = [worker.post("/v1/recommend", json={"n": 1}).json() for worker in workers]
        return all((one["model"], one["fallback"]) == (version, None) for one in told)

    return check


def served_models(running: "Running") -> set[str]:
    """Models that the metrics call the served ones, once every worker was asked."""
    with running.each_worker("read") as workers:
        text = [worker.get("/metrics").text for worker in workers][-1]
    told = re.findall(r'tailrec_model_info\{.*version="([^"]+)"\} 1\.0', text)
    assert told
    return set(told)


def seconds_until(check: Callable[[], bool], most_s: float = 20) -> float:
    started = time.monotonic()
    while not check():
        assert time.monotonic() < started + most_s
        time.sleep(0.05)
    return time.monotonic() - started


def test_a_new_model_is_served_without_a_failed_request(served: "Running") -> None:
    folder = served.folders[0]
    with served.client("admin") as admin:
        before: dict[str, Any] = admin.get("/v1/models").json()
        old = before["serving"]
        assert before["fallback"] is None
        assert [model["version"] for model in before["models"] if model["current"]] == [old]
        with Asking(served) as asking:
            with Shop.open(folder) as shop:
                new = shop.fit().version
            swapped_s = seconds_until(served_by(served, new))
            assert asking.models[0] == old
            told = admin.get("/v1/models").json()
            assert [model["version"] for model in told["models"] if model["current"]] == [new]
            assert {model["version"] for model in told["models"]} >= {old, new}
            assert all(model["source"] == "linear" for model in told["models"])
            assert served_models(served) == {new}
            back = admin.put("/v1/models/current", json={"version": old})
            assert back.status_code == 200
            assert [m["version"] for m in back.json()["models"] if m["current"]] == [old]
            back_s = seconds_until(served_by(served, old))
        assert asking.errors == []
        assert set(asking.statuses) == {200}
        assert len(asking.models) > 100
        assert {old, new} == set(asking.models)
    print(f"served by both workers {swapped_s:.2f} s after the fit, back after {back_s:.2f} s")


def test_a_model_that_is_not_there_or_damaged_is_refused(served: "Running") -> None:
    folder = served.folders[0]
    with served.client("admin") as admin:
        current = admin.get("/v1/models").json()["serving"]
        broken = folder / "models" / "20200101T000000.000000-broken"
        broken.mkdir()
        (broken / "card.json").write_text(json.dumps({"fitted_at": "2020-01-01"}), "utf-8")
        for version in ("none", "../models", "", "current", broken.name):
            answer = admin.put("/v1/models/current", json={"version": version})
            assert answer.status_code == 422, version
        assert str(folder) not in answer.text
        told = admin.get("/v1/models").json()
        assert told["serving"] == current
        assert broken.name in [model["version"] for model in told["models"]]
        (broken / "card.json").unlink()
        broken.rmdir()

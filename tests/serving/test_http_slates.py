"""Slates over HTTP: what is asked for is what comes, and the same as a batch job gives."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.batch import recommended
from tailrec.data.ingest import ingest
from tailrec.data.store import Store
from tailrec.shop import Shop
from tailrec.simulate import Simulation, simulate

if TYPE_CHECKING:
    from tests.running import Running

CONTEXT: dict[str, Any] = {"session": [{"item_id": "P000001"}, {"item_id": "P000044"}]}
"""A situation without a person: asked twice it has the same answer."""
_names = (f"slates-person-{number}" for number in count())


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("read") as client:
        yield client


@pytest.fixture(scope="module")
def store(served: "Running") -> Iterator[Store]:
    with Store.open(served.folders[0] / "store.db") as opened:
        yield opened


@pytest.fixture
def items(store: Store) -> pl.DataFrame:
    """The catalogue as it is now."""
    return store.read("items")


def slate(client: httpx.Client, path: str = "/v1/recommend", **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def ids(client: httpx.Client, path: str = "/v1/recommend", **body: Any) -> list[str]:
    return [item["item_id"] for item in slate(client, path, **body)["items"]]


def busiest(fitted: Shop) -> str:
    data = fitted.dataset()
    return str(data.user_ids[np.diff(data.ptr).argmax()])


def had(fitted: Shop, user: str) -> set[str]:
    data = fitted.dataset()
    row = data.user_index[user]
    return set(data.catalog.ids[data.item[data.ptr[row] : data.ptr[row + 1]]])


def eventually(found: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not found():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_slate_has_its_places_ranked_and_told_apart(shop: httpx.Client) -> None:
    told = slate(shop, user_id="U000007", n=7)
    assert set(told) == {"slate_id", "model", "arm", "fallback", "took_ms", "items"}
    assert (told["arm"], told["fallback"]) == ("default", None)
    assert told["took_ms"] > 0
    assert [item["rank"] for item in told["items"]] == list(range(1, 8))
    assert len({item["item_id"] for item in told["items"]}) == 7
    scores = [item["score"] for item in told["items"]]
    assert scores == sorted(scores, reverse=True)
    for item in told["items"]:
        assert item["tier"] in ("head", "middle", "tail", "cold")
        assert (item["propensity"], item["rule"], item["reasons"]) == (1.0, None, None)
        assert item["source"] == ("model" if item["score"] > 0 else "popular")
    assert slate(shop, user_id="U000007")["slate_id"] != told["slate_id"]


def test_n_is_1_to_200_and_20_where_nothing_is_said(shop: httpx.Client) -> None:
    assert [len(ids(shop, n=n, **CONTEXT)) for n in (1, 20)] == [1, 20]
    assert len(ids(shop)) == 20
    assert len(ids(shop, n=150)) == 150
    for n in (0, 201, -1, 1.5, "many"):
        answer = shop.post("/v1/recommend", json={"n": n})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "body.n"


def test_a_filter_leaves_only_what_passes_in_the_same_order(
    shop: httpx.Client, items: pl.DataFrame
) -> None:
    wanted = {
        "all": [
            {"price": {"lte": 25}},
            {"category": {"under": "Home"}},
            {"not": {"brand": "Irismark"}},
        ]
    }
    on_sale = (pl.col(c.STOCK) > 0) & pl.col(c.AVAILABLE)
    passing = items.filter(
        on_sale
        & (pl.col(c.PRICE) <= 25)
        & pl.col(c.CATEGORY).str.starts_with("Home")
        & (pl.col(c.BRAND) != "Irismark")
    )
    assert len(passing) > 5
    found = ids(shop, n=200, filter=wanted, **CONTEXT)
    whole = ids(shop, n=200, **CONTEXT)
    assert set(found) >= set(passing[c.ITEM_ID])
    assert [item for item in found if item in whole] == [item for item in whole if item in found]
    told = items.filter(pl.col(c.ITEM_ID).is_in(found))
    assert told[c.PRICE].max() <= 25  # type: ignore[operator]
    assert told[c.CATEGORY].str.starts_with("Home").all()
    assert "Irismark" not in told[c.BRAND]
    assert ids(shop, n=5, filter={"price": {"lt": 0}}, **CONTEXT) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (
            {"filter": {"all": [{"brand": "X"}, {"price": {"lte": "low"}}]}},
            "filter.all[1].price.lte",
        ),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"price": {"beneath": 3}}}, "filter.price.beneath"),
        ({"filter": [1]}, "filter"),
        ({"tail": 1.5}, "body.tail"),
        ({"diversity": "much"}, "body.diversity"),
        ({"seen": "burn"}, "body.seen"),
        ({"exclude": ["a", ""]}, "body.exclude[1]"),
        ({"session": [{"item_id": "a"}, {"type": "view"}]}, "body.session[1].item_id"),
        ({"session": [{"item_id": "a", "type": "stare"}]}, "body.session[0].type"),
        ({"user": "U000001"}, "body.user"),
        ({"user_id": 7}, "body.user_id"),
        ({"user_id": "a\0b"}, "body.user_id"),
    ],
)
def test_a_fault_is_named_with_its_place(
    shop: httpx.Client, body: dict[str, Any], path: str
) -> None:
    answer = shop.post("/v1/recommend", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["path"] == path
    assert problem["errors"][0]["message"]
    assert path in problem["detail"]


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ({"pin": [{"item": "P000001"}]}, "rules.pin[0].position"),
        ({"colour": 1}, "rules.colour"),
        ({"at_most": {"brand": 0}}, "rules.at_most.brand"),
        ({"boost": [{"filter": {"price": {"lte": "low"}}, "factor": 2}]}, "rules.boost[0].filter"),
    ],
)
def test_a_fault_of_a_rule_is_named_with_its_place(
    shop: httpx.Client, rules: dict[str, Any], path: str
) -> None:
    answer = shop.post("/v1/recommend", json={"rules": rules})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"].startswith(path)


def test_what_is_excluded_makes_room_for_the_next(shop: httpx.Client) -> None:
    whole = ids(shop, n=10, **CONTEXT)
    left = [whole[0], whole[3], "not in the shop"]
    assert ids(shop, n=8, exclude=left, **CONTEXT) == [i for i in whole if i not in left]


def test_leaning_to_the_tail_shows_more_of_it(shop: httpx.Client) -> None:
    def share(tail: float) -> float:
        shown = [
            item["tier"] in ("tail", "cold")
            for number in range(0, 100, 7)
            for item in slate(shop, session=[{"item_id": f"P{number:06}"}], n=10, tail=tail)[
                "items"
            ]
        ]
        return sum(shown) / len(shown)

    plain, leaning = share(0.0), share(1.0)
    assert leaning > plain + 0.05


def test_diversity_makes_a_slate_less_alike(shop: httpx.Client, fitted: Shop) -> None:
    engine = fitted.engine()
    dense = engine.features.features.dense

    def likeness(diversity: float) -> float:
        means = []
        for number in range(0, 60, 11):
            found = ids(shop, session=[{"item_id": f"P{number:06}"}], n=8, diversity=diversity)
            rows = [engine.index[item] for item in found if item in engine.index]
            total = dense[rows].sum(axis=0)
            means.append(((total**2).sum() - len(rows)) / (len(rows) * (len(rows) - 1)))
        return float(np.mean(means))

    assert likeness(0.9) < likeness(0.4) < likeness(0.0)


def test_a_scene_outside_the_category_in_view(mall: "Running") -> None:
    with mall.client("read") as shop, Store.open(mall.folders[0] / "store.db") as store:
        items = store.read("items", columns=[c.ITEM_ID, c.CATEGORY])
        path = dict(items.iter_rows())
        first = {item_id: name.partition(" > ")[0] for item_id, name in path.items()}
        seen = next(item_id for item_id in ids(shop, n=50) if first[item_id] != "Home")
        home = next(item_id for item_id, name in first.items() if name == "Home")
        plain, cart = ids(shop, item_id=home, n=8), ids(shop, scene="cart", item_id=home)
        assert any(first[item_id] == "Home" for item_id in plain)
        assert len(cart) == 8
        assert all(first[item_id] != "Home" for item_id in cart)
        # The leaf alone: other shelves of the same department stay.
        near = ids(shop, scene="cart", outside=9, item_id=home, n=50)
        assert all(path[item_id] != path[home] for item_id in near)
        assert any(first[item_id] == "Home" for item_id in near)
        # Without a product in view, the latest one of the session counts.
        session = [{"item_id": home}, {"item_id": seen}]
        assert all(
            first[item_id] != first[seen] for item_id in ids(shop, scene="cart", session=session)
        )
        assert ids(shop, scene="cart", n=5) == ids(shop, n=5)  # nothing is in view
        left_out = next(item_id for item_id in plain if first[item_id] == "Home")
        asked = {"item_id": left_out, "request": {"scene": "cart", "item_id": home}}
        told = shop.post("/v1/explain", json=asked).json()
        assert told["stage"] == "category"
        assert path[left_out] in told["why"]


def test_a_scene_has_its_own_defaults_and_the_request_the_last_word(mall: "Running") -> None:
    with mall.client("read") as shop, Store.open(mall.folders[0] / "store.db") as store:
        home = store.read("items").filter(pl.col(c.CATEGORY).str.starts_with("Home"))
        corner = ids(shop, scene="corner", **CONTEXT)
        assert len(corner) == 3
        assert set(corner) <= set(home[c.ITEM_ID])
        assert len(ids(shop, scene="corner", n=5, **CONTEXT)) == 5
        cheap = ids(shop, scene="corner", n=50, filter={"price": {"lt": 20}}, **CONTEXT)
        assert set(cheap) == set(home.filter(pl.col(c.PRICE) < 20)[c.ITEM_ID])
        assert "P000001" in ids(shop, scene="again", **CONTEXT)
        assert "P000001" not in ids(shop, n=200, **CONTEXT)
        assert ids(shop, scene="fixed", n=4, session=[{"item_id": "P000044"}])[1] == "P000001"
        answer = shop.post("/v1/recommend", json={"scene": "attic"})
        assert answer.status_code == 422
        assert "corner" in answer.json()["detail"]


def test_rules_of_a_request_pin_boost_bury_and_cap(shop: httpx.Client, items: pl.DataFrame) -> None:
    whole = slate(shop, n=40, **CONTEXT)["items"]
    order = [item["item_id"] for item in whole]
    brand = dict(items.select(c.ITEM_ID, c.BRAND).rows())
    last = order[-1]
    pinned = slate(shop, n=5, rules={"pin": [{"item": last, "position": 2}]}, **CONTEXT)["items"]
    assert [item["item_id"] for item in pinned] == [order[0], last, *order[1:4]]
    assert [item["rule"] for item in pinned] == [None, "pinned", None, None, None]
    second = next(item for item in whole[1:] if item["score"] > 0)
    factor = 1.5 * whole[0]["score"] / second["score"]
    boost = {"boost": [{"items": [second["item_id"]], "factor": factor}]}
    first = slate(shop, n=5, rules=boost, **CONTEXT)["items"][0]
    assert (first["item_id"], first["rule"]) == (second["item_id"], "boosted")
    assert first["score"] == pytest.approx(1.5 * whole[0]["score"])
    gone = {"bury": [{"filter": {"brand": brand[order[0]]}, "factor": 0}]}
    kept = ids(shop, n=10, rules=gone, **CONTEXT)
    assert kept == [item for item in order if brand[item] != brand[order[0]]][:10]
    cap = {"cap": [{"filter": {"brand": brand[order[0]]}, "at_most": 1}]}
    assert sum(brand[i] == brand[order[0]] for i in ids(shop, n=10, rules=cap, **CONTEXT)) == 1
    few = [brand[item] for item in ids(shop, n=6, rules={"at_most": {"brand": 1}}, **CONTEXT)]
    assert len(few) == len(set(few))


def test_seen_items_are_hidden_or_due_or_shown(
    served: "Running", shop: httpx.Client, fitted: Shop
) -> None:
    with Shop.open(served.folders[0]) as now:
        data = now.dataset()
    again_days = fitted.model().again_days
    again = dict(zip(fitted.engine().ids[: len(again_days)], again_days, strict=True))
    for user, row in data.user_index.items():
        part = slice(data.ptr[row], data.ptr[row + 1])
        owned = data.catalog.ids[data.item[part]]
        days = (data.now - data.time[part]) / (24 * 3600 * 1e6)
        due = days >= np.array([again.get(item, np.inf) for item in owned])
        if 1 < due.sum() < len(due) - 1:
            person = str(user)
            break
    else:
        raise AssertionError("nobody has something that is due and something that is not")
    had, ready = set(owned), set(owned[due])
    on_sale = set(ids(shop, user_id=person, n=200, seen="show")) & had
    assert on_sale
    assert not set(ids(shop, user_id=person, n=200, seen="hide")) & had
    assert not set(ids(shop, user_id=person, n=200)) & had
    assert set(ids(shop, user_id=person, n=200, seen="due")) & had == ready & on_sale


def test_a_session_told_with_the_request_counts_as_one_that_is_stored(
    served: "Running", shop: httpx.Client
) -> None:
    user, now = next(_names), datetime.now(UTC)
    deeds = [
        {
            "item_id": f"P{number:06}",
            "type": "purchase",
            "timestamp": (now - timedelta(minutes=9 - place)).isoformat(),
        }
        for place, number in enumerate((3, 77, 120))
    ]
    told = slate(shop, session=deeds, n=30)["items"]
    assert not {item["item_id"] for item in told} & {deed["item_id"] for deed in deeds}
    with served.client("write") as writer:
        events = [{**deed, "user_id": user} for deed in deeds]
        assert writer.post("/v1/events", json={"events": events}).status_code == 202
    assert slate(shop, user_id=user, n=30)["items"] == told
    assert ids(shop, n=30) != [item["item_id"] for item in told]


def test_somebody_known_by_a_session_alone_is_like_one_with_a_name(
    served: "Running", shop: httpx.Client
) -> None:
    user, session = next(_names), next(_names)
    deeds = [
        {"item_id": item, "type": "view", "session_id": session} for item in ("P000003", "P000077")
    ]
    with served.client("write") as writer:
        events = [*deeds, *({**deed, "user_id": user} for deed in deeds)]
        assert writer.post("/v1/events", json={"events": events}).status_code == 202
    named = slate(shop, user_id=user, n=30)["items"]
    assert slate(shop, session_id=session, n=30)["items"] == named
    assert not {item["item_id"] for item in named} & {deed["item_id"] for deed in deeds}
    # A name says more than a session: what another did in it is not this person's.
    assert ids(shop, session_id=session, user_id=next(_names), n=30) == ids(shop, n=30)


def test_the_item_in_view_weighs_in_and_is_not_shown(shop: httpx.Client) -> None:
    plain = ids(shop, n=10, **CONTEXT)
    viewed = plain[4]
    looking = ids(shop, n=10, item_id=viewed, **CONTEXT)
    assert viewed not in looking
    assert looking != [item for item in plain if item != viewed][:9]
    seen = [deed["item_id"] for deed in CONTEXT["session"]]
    assert looking[0] == ids(shop, "/v1/similar", item_id=viewed, exclude=seen, n=1)[0]
    # What the shop does not have says nothing, and is no error.
    assert ids(shop, n=5, item_id="not in the shop") == ids(shop, n=5)


def test_reasons_add_up_to_the_score(shop: httpx.Client, mall: "Running") -> None:
    with mall.client("read", mall.folders[1]) as prior:
        marked = slate(prior, session=[{"item_id": "Zqsouthern-4"}], n=20, explain=True)["items"]
    plain = slate(shop, user_id="U000003", n=20, explain=True)["items"]
    for items in (plain, marked):
        modelled = [item for item in items if item["source"] == "model"]
        assert len(modelled) > 3
        for item in modelled:
            parts = [part["behaviour"] + part["text"] for part in item["reasons"]]
            assert sum(parts) == pytest.approx(item["score"], rel=1e-3)
    assert not any(part["item_id"] is None for item in plain for part in item["reasons"])
    assert any(part["item_id"] is None for item in marked for part in item["reasons"] or [])


def test_slates_are_logged_as_they_were_shown(shop: httpx.Client, store: Store) -> None:
    user = next(_names)
    shown = [
        slate(shop, user_id=user, session_id="a tab", n=4),
        slate(shop, user_id=user, n=3, session=[{"item_id": "P000009"}]),
        slate(shop, "/v1/rerank", user_id=user, items=["P000010", "P000011"]),
        slate(shop, "/v1/similar", item_id="P000012", n=2),
    ]
    wanted = [one["slate_id"] for one in shown]
    eventually(lambda: store.read("slates")[c.SLATE_ID].is_in(wanted).sum() == 4)
    logged = {row[c.SLATE_ID]: row for row in store.read("slates").to_dicts()}
    for one, who in zip(shown, (user, user, user, None), strict=True):
        row = logged[one["slate_id"]]
        assert row[c.USER_ID] == who
        assert pl.Series([row[c.ITEM_IDS]]).str.json_decode(pl.List(pl.String))[0].to_list() == [
            item["item_id"] for item in one["items"]
        ]
        assert (row[c.MODEL], row[c.ARM], row[c.PROPENSITIES]) == (one["model"], "default", None)
        assert abs(datetime.now(UTC) - row[c.TIMESTAMP]) < timedelta(minutes=1)
    assert logged[wanted[0]][c.SESSION_ID] == "a tab"


def test_what_is_shown_in_vain_steps_back(
    served: "Running", shop: httpx.Client, store: Store
) -> None:
    user = next(_names)
    event = {"user_id": user, "item_id": "P000001", "type": "purchase"}
    with served.client("write") as writer:
        assert writer.post("/v1/events", json={"events": [event]}).status_code == 202
    slates = []
    for _ in range(8):
        slates.append(slate(shop, user_id=user, n=5))
        eventually(lambda: slates[-1]["slate_id"] in store.read("slates")[c.SLATE_ID])
    first = {item["item_id"]: item["score"] for item in slates[0]["items"]}
    for times, later in enumerate(slates):
        shown = [{i["item_id"] for i in one["items"]} for one in slates[:times]]
        for item in later["items"]:
            if item["item_id"] in first:
                tired = 0.95 ** sum(item["item_id"] in one for one in shown)
                assert item["score"] == pytest.approx(first[item["item_id"]] * tired, rel=1e-3)
    assert [i["item_id"] for i in slates[-1]["items"]] != list(first)


def test_similar_items_leave_out_the_item_and_what_a_person_has(
    shop: httpx.Client, fitted: Shop
) -> None:
    whole = ids(shop, "/v1/similar", item_id="P000001", n=200)
    assert "P000001" not in whole
    assert len(whole) == len(set(whole))
    user = busiest(fitted)
    own = had(fitted, user)
    assert own & set(whole)
    left = ids(shop, "/v1/similar", item_id="P000001", user_id=user, n=200)
    assert not own & set(left)
    assert left[:20] == [item for item in whole if item not in own][:20]
    some = ids(shop, "/v1/similar", item_id="P000001", n=200, filter={"price": {"gt": 30}})
    assert 0 < len(some) < len(whole)
    answer = shop.post("/v1/similar", json={"item_id": "not in the shop"})
    assert answer.status_code == 404
    assert "not in the shop" in answer.json()["detail"]


def test_rerank_orders_what_it_is_given(shop: httpx.Client) -> None:
    whole = ids(shop, n=40, **CONTEXT)
    given = [whole[9], whole[2], "not in the shop", whole[30], whole[0], whole[2]]
    reranked = slate(shop, "/v1/rerank", items=given, **CONTEXT)["items"]
    assert [item["item_id"] for item in reranked] == [whole[0], whole[2], whole[9], whole[30]]
    assert [item["rank"] for item in reranked] == [1, 2, 3, 4]
    unknown = slate(shop, "/v1/rerank", items=whole[3::-1])["items"]
    assert {item["item_id"] for item in unknown} == set(whole[:4])
    assert shop.post("/v1/rerank", json={"items": []}).status_code == 422
    assert shop.post("/v1/rerank", json={"items": ["x"] * 1_001}).status_code == 422


def agree(folder: Path, client: httpx.Client, users: list[str], listing: Path) -> None:
    """Slates made in a batch and served ones are the same to the last bit."""
    listing.write_text("\n".join(users), "utf-8")
    time.sleep(0.5)  # what was served before is logged by now
    with Shop.open(folder) as shop:
        offline = recommended(shop, users=str(listing))
    rows = [
        (user, item["rank"], item["item_id"], item["score"])
        for user in users
        for item in slate(client, user_id=user)["items"]
    ]
    online = pl.DataFrame(rows, schema=offline.schema, orient="row")
    assert len(online) == 20 * len(users)
    assert online.equals(offline)


def test_a_batch_job_gives_what_is_served(
    served: "Running", shop: httpx.Client, fitted: Shop, tmp_path: Path
) -> None:
    users = [str(user) for user in fitted.dataset().user_ids[:99]]
    agree(served.folders[0], shop, [*users, "nobody we know"], tmp_path / "users.txt")


@pytest.mark.slow
def test_a_batch_job_gives_what_is_served_to_a_thousand(
    tmp_path: Path, serve: Callable[..., "Running"], encoder_cache: Path
) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "shop"
    raw.mkdir()
    simulate(Simulation(n_users=1_100, n_items=400, n_days=60), seed=5).write(raw)
    with Shop.create(folder) as shop:
        shop.cache.symlink_to(encoder_cache)
        for path in sorted(raw.iterdir(), reverse=True):
            ingest(shop.store, path.stem, [path])
        shop.fit()
        users = [str(user) for user in shop.dataset().user_ids[:1_000]]
    shutil.rmtree(raw)
    assert len(users) == 1_000
    with serve(folder, workers=2).client("read") as client:
        agree(folder, client, users, tmp_path / "users.txt")
        # Once more, now that everybody was shown something.
        agree(folder, client, users, tmp_path / "users.txt")

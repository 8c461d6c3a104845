"""Every method of the clients, against the service in a process of its own."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.serving.redis_server import free_port

from tailrec.client import AsyncClient, Client, NoAnswer, Refused
from tailrec.data.keys import Keys
from tailrec.shop import Shop
from tailrec.wire import Event, Item, ItemChange, Recommend, SessionEvent, User

SERVE = "from tailrec.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service of one shop, and keys to it."""

    url: str
    read: str
    admin: str
    items: list[str]


@pytest.fixture(scope="module")
def service(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The simulated shop, served until the end of these tests."""
    folder = tmp_path_factory.mktemp("served") / "shop"
    shutil.copytree(fitted_folder, folder, symlinks=True)
    with Shop.open(folder) as shop:
        read, admin = (Keys(shop.store).create(role) for role in ("read", "admin"))
        items = shop.store.read("items")["item_id"].to_list()
    port = free_port()
    words = ["serve", str(folder), "--port", str(port), "--workers", "1", "--no-log-requests"]
    with subprocess.Popen([sys.executable, "-c", SERVE, *words]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, admin)
            yield Service(url, read, admin, items)
        finally:
            process.send_signal(signal.SIGTERM)
            # It ends what it has begun, and then as the signal says.
            assert process.wait(30) in (0, -signal.SIGTERM)


@pytest.fixture
def shop(service: Service) -> Iterator[Client]:
    """A client that may do everything."""
    with Client(service.url, service.admin) as client:
        yield client


def _wait_for(url: str, key: str) -> None:
    with Client(url, key, retries=0) as client:
        for _ in range(600):
            try:
                if client.ready():
                    return
            except NoAnswer:
                pass
            time.sleep(0.1)
    pytest.fail("the service was not ready within 60 s")


def test_slates(shop: Client, service: Service) -> None:
    first, second, *_ = service.items
    slate = shop.recommend(user_id="U000001", n=5, tail=0.5, diversity=0.3, explain=True)
    assert [item.rank for item in slate.items] == [1, 2, 3, 4, 5]
    assert slate.items[0].reasons is not None
    stranger = shop.recommend(session=[SessionEvent(item_id=first)], item_id=second, n=3)
    assert {first, second}.isdisjoint(item.item_id for item in stranger.items)
    assert len(shop.similar(first, n=4).items) == 4
    order = shop.rerank(service.items[:6], user_id="U000001")
    ordered = [item.item_id for item in order.items]
    assert ordered
    assert set(ordered) <= set(service.items[:6])  # those on sale that the person does not have


def test_search_and_why(shop: Client, service: Service) -> None:
    title = shop.get_item(service.items[0]).title
    found = shop.search(title, n=5, facets=["brand"])
    assert found.items[0].item_id == service.items[0]
    assert found.facets["brand"]
    top = shop.recommend(user_id="U000001", n=3).items[0].item_id
    why = shop.explain(top, user_id="U000001", request=Recommend(n=3))
    assert (why.shown, why.rank) == (True, 1)


def test_a_product_comes_changes_and_goes(shop: Client) -> None:
    for item_id in ("teapot", "tea/pot", "té ?#%2F"):
        new = Item(item_id=item_id, title="Cast iron teapot", price=39.0, attributes={"litres": 1})
        assert shop.put_items([new]).accepted == 1
        assert shop.get_item(item_id).attributes == {"litres": 1}
        changed = shop.change_item(item_id, ItemChange(price=34.5, attributes=None))
        assert (changed.price, changed.attributes, changed.title) == (34.5, None, new.title)
        shop.delete_item(item_id)
        with pytest.raises(Refused) as told:
            shop.get_item(item_id)
        assert told.value.status == 404


def test_a_person_comes_acts_and_is_erased(shop: Client, service: Service) -> None:
    shop.put_users([User(user_id="ada", attributes={"club": True})])
    views = [Event(user_id="ada", item_id=item, type="view") for item in service.items[:3]]
    assert shop.send_events(views).accepted == 3
    assert shop.send_events(views).accepted == 3
    person = shop.get_user("ada")
    # Sent twice without an id, they are six.
    assert (person.attributes, person.n_events) == ({"club": True}, 6)
    assert shop.profile("ada").by_type == {"view": 6}
    assert shop.erase_user("ada").erased["events"] == 6
    with pytest.raises(Refused) as told:
        shop.get_user("ada")
    assert told.value.status == 404


def test_models(shop: Client) -> None:
    told = shop.models()
    (model,) = told.models
    assert model.current
    assert shop.activate(model.version).serving == told.serving
    with pytest.raises(Refused, match="there is no model 'no-such'"):
        shop.activate("no-such")


def test_health(shop: Client) -> None:
    assert shop.live()
    assert shop.ready()


def test_keys_decide(service: Service) -> None:
    with Client(service.url, service.read) as reader, pytest.raises(Refused) as told:
        reader.erase_user("U000001")
    assert told.value.status == 403
    with Client(service.url, "no-key") as stranger, pytest.raises(Refused) as told:
        stranger.recommend(user_id="U000001")
    assert told.value.status == 401
    assert told.value.problem is not None
    assert told.value.problem.title == "Unauthorized"


def test_the_service_says_where_a_fault_is(shop: Client) -> None:
    with pytest.raises(Refused) as told:
        shop.recommend(user_id="U000001", filter={"prise": {"lte": 3}})
    assert told.value.status == 422
    assert told.value.problem is not None
    assert "prise" in str(told.value)


def test_many_at_once(service: Service) -> None:
    async def run() -> list[int]:
        async with AsyncClient(service.url, service.read) as shop:
            asked = (shop.recommend(user_id=f"U{number:06}", n=3) for number in range(40))
            return [len(slate.items) for slate in await asyncio.gather(*asked)]

    assert asyncio.run(run()) == [3] * 40

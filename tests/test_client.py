"""Every method of the clients, against the service in a process of its own."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.running import Running

from tailrec.client import AsyncClient, Client, Refused
from tailrec.shop import Shop
from tailrec.wire import Event, Item, ItemChange, Recommend, SessionEvent, User


@pytest.fixture(scope="module")
def items(served: Running) -> list[str]:
    """Ids of the simulated catalogue."""
    with Shop.open(served.folders[0]) as shop:
        ids = shop.store.read("items")["item_id"]
    return ids.filter(ids.str.starts_with("P")).to_list()


@pytest.fixture
def shop(served: Running) -> Iterator[Client]:
    """A client that may do everything."""
    with Client(served.url, served.key("admin")) as client:
        yield client


def test_slates(shop: Client, items: list[str]) -> None:
    first, second, *_ = items
    slate = shop.recommend(user_id="U000100", n=5, tail=0.5, diversity=0.3, explain=True)
    assert [item.rank for item in slate.items] == [1, 2, 3, 4, 5]
    assert slate.items[0].reasons is not None
    stranger = shop.recommend(session=[SessionEvent(item_id=first)], item_id=second, n=3)
    assert {first, second}.isdisjoint(item.item_id for item in stranger.items)
    assert len(shop.similar(first, n=4).items) == 4
    order = shop.rerank(items[:6], user_id="U000100")
    ordered = [item.item_id for item in order.items]
    assert ordered
    assert set(ordered) <= set(items[:6])  # those on sale that the person does not have


def test_search_and_why(shop: Client, items: list[str]) -> None:
    title = shop.get_item(items[0]).title
    found = shop.search(title, n=5, facets=["brand"])
    assert found.items[0].item_id == items[0]
    assert found.facets["brand"]
    top = shop.recommend(user_id="U000100", n=3).items[0].item_id
    why = shop.explain(top, user_id="U000100", request=Recommend(n=3))
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


def test_a_person_comes_acts_and_is_erased(shop: Client, items: list[str]) -> None:
    shop.put_users([User(user_id="client-ada", attributes={"club": True})])
    views = [Event(user_id="client-ada", item_id=item, type="view") for item in items[:3]]
    assert shop.send_events(views).accepted == 3
    assert shop.send_events(views).accepted == 3
    person = shop.get_user("client-ada")
    # Sent twice without an id, they are six.
    assert (person.attributes, person.n_events) == ({"club": True}, 6)
    assert shop.profile("client-ada").by_type == {"view": 6}
    assert shop.erase_user("client-ada").erased["events"] == 6
    with pytest.raises(Refused) as told:
        shop.get_user("client-ada")
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


def test_keys_decide(served: Running) -> None:
    with Client(served.url, served.key("read")) as reader, pytest.raises(Refused) as told:
        reader.erase_user("U000100")
    assert told.value.status == 403
    with Client(served.url, "no-key") as stranger, pytest.raises(Refused) as told:
        stranger.recommend(user_id="U000100")
    assert told.value.status == 401
    assert told.value.problem is not None
    assert told.value.problem.title == "Unauthorized"


def test_the_service_says_where_a_fault_is(shop: Client) -> None:
    with pytest.raises(Refused) as told:
        shop.recommend(user_id="U000100", filter={"prise": {"lte": 3}})
    assert told.value.status == 422
    assert told.value.problem is not None
    assert "prise" in str(told.value)


def test_many_at_once(served: Running) -> None:
    async def run() -> list[int]:
        async with AsyncClient(served.url, served.key("read")) as shop:
            asked = (shop.recommend(user_id=f"U{number:06}", n=3) for number in range(100, 140))
            return [len(slate.items) for slate in await asyncio.gather(*asked)]

    assert asyncio.run(run()) == [3] * 40

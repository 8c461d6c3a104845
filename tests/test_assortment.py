"""A shop's items at this moment: what changes applies at once, and changes add up."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.arrange import Arrangement, slates_of
from tailrec.assortment import Assortment
from tailrec.data.filters import parse_filter
from tailrec.data.histories import Histories, build_dataset
from tailrec.data.repurchase import Repurchase
from tailrec.dataset import Dataset
from tailrec.engine import EngineRecipe
from tailrec.features.build import FeatureRecipe
from tailrec.items import PADDING
from tailrec.model import Model
from tailrec.reranking.rules import Rules
from tailrec.search.facets import count_facets
from tailrec.search.index import SearchRecipe
from tailrec.simulate import SimulatedShop
from tailrec.slates import search_items

N_FITTED = 60
"""Items of the small shop; those the fit knows are P000000 and on."""


def rows(*told: Mapping[str, object]) -> pl.DataFrame:
    """Items as the store gives them: every column there, most of them empty."""
    return pl.DataFrame([{**dict.fromkeys(c.ITEMS), **one} for one in told], schema=dict(c.ITEMS))


def whole(items: pl.DataFrame) -> pl.DataFrame:
    """The columns of a store."""
    own = items.select(name for name in items.columns if name in c.ITEMS)
    return pl.concat([pl.DataFrame(schema=dict(c.ITEMS)), own], how="diagonal")


@pytest.fixture(scope="module")
def data(simulated: SimulatedShop) -> Dataset:
    items = whole(simulated.items).head(N_FITTED)
    events = simulated.events.join(items, on=c.ITEM_ID, how="semi")
    return build_dataset(events, items, Histories())


@pytest.fixture(scope="module")
def model(data: Dataset) -> Model:
    """Fitted by words and behaviour, without an encoder, which takes a second."""
    engine = EngineRecipe(features=FeatureRecipe(encode=False)).fit(data)
    again = Repurchase().fit(data)
    return Model.of("v", engine, data.catalog, SearchRecipe(), again, card={})


@pytest.fixture(scope="module")
def items(data: Dataset) -> pl.DataFrame:
    """The store's items, all of them for sale."""
    plenty = {c.AVAILABLE: True, c.STOCK: 5.0}
    return data.catalog.table.with_columns(
        **{name: pl.lit(value, c.ITEMS[name]) for name, value in plenty.items()}
    )


@pytest.fixture(scope="module")
def stand(model: Model, items: pl.DataFrame) -> Assortment:
    return Assortment.of(model, items, "pareto", revision=7)


def scores(stand: Assortment, data: Dataset) -> list[dict[str, float]]:
    """The whole ranking of everybody: scores by item id."""
    queries = stand.engine.queries(data, include_seen=True, hidden=stand.hidden)
    slates = slates_of(stand.engine, queries, Arrangement(len(stand.engine.ids)))
    return [
        {
            str(stand.engine.ids[number]): float(score)
            for number, score in zip(ids, own, strict=True)
            if number != PADDING
        }
        for ids, own in zip(slates.ids, slates.scores, strict=True)
    ]


def shown(stand: Assortment, data: Dataset) -> set[str]:
    return set().union(*scores(stand, data))


def found(stand: Assortment, words: str) -> dict[str, float]:
    """Scores of everything found, by item id."""
    best = search_items(stand, words, k=len(stand.engine.ids)).items
    ids = stand.engine.ids[best.ids].astype(str).tolist()
    return dict(zip(ids, best.scores.tolist(), strict=True))


def put(stand: Assortment, *told: Mapping[str, object], gone: Sequence[str] = ()) -> Assortment:
    return stand.after(rows(*told), gone, stand.revision + 1)


def one(items: pl.DataFrame, item_id: str) -> dict[str, object]:
    return items.filter(pl.col(c.ITEM_ID) == item_id).row(0, named=True)


def twin(items: pl.DataFrame, like: str = "P000003", **changes: object) -> dict[str, object]:
    """A new item with the words of one that is there."""
    return {**one(items, like), c.ITEM_ID: "NEW", **changes}


# ---------------------------------------------------------------------------- as it is


def test_the_items_of_the_store_over_the_model(stand: Assortment, items: pl.DataFrame) -> None:
    assert stand.revision == 7
    assert stand.table.select(list(c.ITEMS)).equals(items.select(list(c.ITEMS)))
    assert stand.table["tier"].null_count() == 0
    assert not stand.hidden.any()
    assert not stand.missing.any()
    assert stand.row(3).row(0, named=True)[c.ITEM_ID] == "P000003"
    assert stand.table[c.ITEM_ID].to_list() == stand.engine.ids.tolist()


def test_without_an_items_table_nothing_is_hidden_but_what_was_deleted(model: Model) -> None:
    bare = Assortment.of(model, rows(), "pareto")
    assert not bare.hidden.any()
    left = bare.after(rows(), ["P000004", "never heard of"], 1)
    assert left.engine.ids[left.hidden].tolist() == ["P000004"]
    assert left.revision == 1


def test_what_the_store_lacks_is_missing(model: Model, items: pl.DataFrame) -> None:
    some = Assortment.of(model, items[:50], "pareto")
    assert some.engine.ids[some.missing].tolist() == items[c.ITEM_ID][50:].to_list()
    assert some.hidden[50:].all()
    assert not some.hidden[:50].any()


def test_columns_that_are_not_told_are_empty(model: Model, items: pl.DataFrame) -> None:
    for part in (items, items[::-1], items[:30]):
        stand = Assortment.of(model, part.select(c.ITEM_ID, c.TITLE), "pareto")
        assert stand.table[c.PRICE].null_count() == N_FITTED
        assert stand.table[c.TITLE].null_count() == N_FITTED - len(part)


# ---------------------------------------------------------------------------- new items


def test_a_new_item_is_recommended_and_found_at_once(
    stand: Assortment, items: pl.DataFrame, data: Dataset
) -> None:
    assert not found(stand, "quetzalcoatl")
    title = f"{one(items, 'P000003')[c.TITLE]} quetzalcoatl"
    after = put(stand, twin(items, title=title))
    assert after.engine.ids[-1] == "NEW"
    assert (after.revision, after.table["tier"][-1]) == (8, "cold")
    assert max(own.get("NEW", 0) for own in scores(after, data)) > 0
    assert list(found(after, "quetzalcoatl")) == ["NEW"]
    assert not after.hidden[-1]
    # The one before it goes on answering as it did.
    assert "NEW" not in stand.engine.index
    assert not found(stand, "quetzalcoatl")


def test_a_new_item_that_is_not_for_sale_is_neither_shown_nor_found(
    stand: Assortment, items: pl.DataFrame, data: Dataset
) -> None:
    for change in ({c.AVAILABLE: False}, {c.STOCK: 0.0}):
        after = put(stand, twin(items, title="quetzalcoatl", **change))
        assert "NEW" not in shown(after, data)
        assert not found(after, "quetzalcoatl")


def test_a_new_item_whose_words_change_is_recommended_by_the_new_ones(
    stand: Assortment, items: pl.DataFrame, data: Dataset
) -> None:
    retold = twin(items, "P000020")
    after = put(put(stand, twin(items, "P000003"), twin(items, item_id="OTHER")), retold)
    at_once = put(stand, retold, twin(items, item_id="OTHER"))
    assert scores(after, data) == scores(at_once, data)
    assert scores(after, data) != scores(put(stand, twin(items), retold | {c.ITEM_ID: "X"}), data)


# ---------------------------------------------------------------------------- changes


def test_a_changed_title_is_found_by_its_new_word_and_not_by_the_old(
    stand: Assortment, items: pl.DataFrame
) -> None:
    first = put(stand, one(items, "P000003") | {c.TITLE: "quetzalcoatl vase"})
    assert list(found(first, "quetzalcoatl")) == ["P000003"]
    second = put(first, one(items, "P000003") | {c.TITLE: "xylophone vase"})
    assert list(found(second, "xylophone")) == ["P000003"]
    assert "P000003" not in found(second, "quetzalcoatl")
    back = put(second, one(items, "P000003"))
    words = str(one(items, "P000003")[c.TITLE])
    assert found(back, words) == pytest.approx(found(stand, words))
    assert not found(back, "xylophone")


def test_price_stock_and_availability_apply_at_once(
    stand: Assortment, items: pl.DataFrame, data: Dataset
) -> None:
    cheap = parse_filter({"price": {"lt": 0.5}})
    rules = Rules.parse({"bury": [{"filter": {"price": {"lt": 0.5}}, "factor": 0}]})
    item = stand.engine.index["P000003"]
    assert stand.hiding(cheap).all()  # nothing is that cheap
    before = stand.rules_of(rules)
    assert before is not None
    assert before.factor[item] == 1
    after = put(stand, one(items, "P000003") | {c.PRICE: 0.25})
    assert np.flatnonzero(~after.hiding(cheap)).tolist() == [item]
    now = after.rules_of(rules)
    assert now is not None
    assert now.factor[item] == 0
    assert stand.hiding(cheap).all()
    for change in ({c.AVAILABLE: False}, {c.STOCK: 0.0}, {c.STOCK: -1.0}):
        sold = put(after, one(items, "P000003") | {c.PRICE: 0.25, **change})
        assert sold.hidden.nonzero()[0].tolist() == [item]
        assert sold.hiding(cheap).all()
        assert "P000003" not in shown(sold, data)
        again = put(sold, one(items, "P000003"))
        assert not again.hidden.any()
        assert "P000003" in shown(again, data)


def test_masks_and_rules_are_kept_ready_but_not_without_end(stand: Assortment) -> None:
    wanted = parse_filter({"price": {"lt": 5}})
    rules = Rules.parse({"at_most": {"brand": 1}})
    assert stand.hiding(None) is stand.hidden
    assert stand.rules_of(Rules()) is None
    mask, compiled = stand.hiding(wanted), stand.rules_of(rules)
    assert stand.hiding(parse_filter({"price": {"lt": 5.0}})) is mask
    assert stand.rules_of(Rules.parse({"at_most": {"brand": 1}})) is compiled
    np.testing.assert_array_equal(mask, stand.hidden | ~wanted.mask(stand.table))
    for price in range(100):
        stand.hiding(parse_filter({"price": {"lt": price + 100}}))
    assert len(stand._masks) <= 64
    assert stand.hiding(wanted) is not mask
    np.testing.assert_array_equal(stand.hiding(wanted), mask)


# ---------------------------------------------------------------------------- deletions


@pytest.mark.parametrize("item_id", ["P000003", "NEW"])
def test_what_is_deleted_never_appears_and_what_is_put_again_is_back(
    stand: Assortment, items: pl.DataFrame, data: Dataset, item_id: str
) -> None:
    row = twin(items, item_id=item_id) | {c.TITLE: "quetzalcoatl vase", c.BRAND: "Own"}
    there = put(stand, row)
    own = parse_filter({"brand": "Own"})
    number = there.engine.index[item_id]
    assert item_id in found(there, "quetzalcoatl")
    assert not there.hiding(own)[number]
    gone = put(there, gone=[item_id])
    assert gone.missing[number]
    assert gone.hidden[number]
    assert gone.hiding(own).all()
    assert item_id not in shown(gone, data)
    assert not found(gone, "quetzalcoatl")
    told = gone.row(number).drop("tier").row(0, named=True)
    assert {name: value for name, value in told.items() if value is not None} == {
        c.ITEM_ID: item_id
    }
    # What is put beside it does not bring it back, and what is put again is as it was.
    assert not found(put(gone, twin(items, item_id="OTHER")), "quetzalcoatl")
    back = put(gone, row)
    assert item_id in found(back, "quetzalcoatl")
    assert scores(back, data) == scores(there, data)
    assert not back.missing[number]


def test_what_was_never_there_may_be_gone(stand: Assortment) -> None:
    assert put(stand, gone=["never heard of"]).hidden.sum() == 0


# ---------------------------------------------------------------------------- facets, memory


def test_facets_count_what_is_there_now(stand: Assortment, items: pl.DataFrame) -> None:
    after = put(stand, twin(items, brand="Quetzal Works"), one(items, "P000000") | {c.BRAND: None})
    everything = np.flatnonzero(~after.hidden).astype(np.int32)
    counts = {name: dict(told) for name, told in count_facets(after.facets, everything).items()}
    assert counts[c.BRAND]["Quetzal Works"] == 1
    assert sum(counts["tier"].values()) == N_FITTED + 1
    brand = str(one(items, "P000000")[c.BRAND])
    before = items.filter(pl.col(c.BRAND) == brand).height
    assert counts[c.BRAND].get(brand, 0) == before - 1


def test_nothing_of_the_fit_is_copied(stand: Assortment, items: pl.DataFrame) -> None:
    after = put(put(stand, twin(items), one(items, "P000003") | {c.TITLE: "another"}), gone=["NEW"])
    base, late = stand.model, after
    assert late.model is base
    pairs = [
        (base.engine.model.matrix.data, late.engine.model.matrix.data),  # type: ignore[union-attr]
        (base.engine.model.matrix.indices, late.engine.model.matrix.indices),  # type: ignore[union-attr]
        (base.engine.features.features.words.data, late.engine.features.features.words.data),
        (base.index.postings.weights, late.index.postings.weights),
        (base.index.postings.rows, late.index.postings.rows),
    ]
    for own, other in pairs:
        assert own is other or np.shares_memory(own, other)


# ---------------------------------------------------------------------------- many changes

WORDS = ["vase", "bowl", "teapot", "lamp", "quetzalcoatl", "xylophone", "garden", "steel", "blue"]
titles = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True).map(" ".join)
puts = st.fixed_dictionaries(
    {
        c.ITEM_ID: st.sampled_from(["P000001", "P000003", "P000020", "NEW1", "NEW2", "NEW3"]),
        c.TITLE: titles,
        c.BRAND: st.sampled_from([None, "Own", "Other"]),
        c.PRICE: st.sampled_from([None, 1.0, 20.0]),
        c.STOCK: st.sampled_from([None, 0.0, 3.0]),
        c.AVAILABLE: st.sampled_from([None, True, True, False]),
    }
)
changes = st.lists(st.one_of(puts, st.sampled_from(["P000003", "NEW1", "NEW2"])), max_size=8)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=changes, sizes=st.lists(st.integers(1, 3), min_size=8, max_size=8))
def test_many_changes_in_a_row_are_as_one_at_once(
    stand: Assortment,
    model: Model,
    items: pl.DataFrame,
    data: Dataset,
    *,
    told: list[dict[str, object] | str],
    sizes: list[int],
) -> None:
    """However changes come, what is shown and found is that of the catalogue as it ends up."""
    catalogue = {row[c.ITEM_ID]: row for row in items.iter_rows(named=True)}
    step, place = stand, 0
    for size in sizes:
        part, place = told[place : place + size], place + size
        changed: dict[object, Mapping[str, object]] = {}
        for change in part:
            if isinstance(change, str):
                catalogue.pop(change, None)
            else:
                catalogue[change[c.ITEM_ID]] = dict.fromkeys(c.ITEMS) | change
                changed[change[c.ITEM_ID]] = change
        now = [row for item_id, row in changed.items() if item_id in catalogue]
        gone = [change for change in part if isinstance(change, str) and change not in catalogue]
        step = put(step, *now, gone=gone)
    fresh = Assortment.of(model, rows(*catalogue.values()), "pareto")

    assert shown(step, data) == shown(fresh, data)
    for own, other in zip(scores(step, data), scores(fresh, data), strict=True):
        assert own == pytest.approx(other, rel=1e-5)
    for words in (*WORDS, "quetzalcoatl vase", "blue garden teapot", "xylofone"):
        assert found(step, words).keys() == found(fresh, words).keys()
    cheap = parse_filter({"all": [{"price": {"lt": 5}}, {"brand": "Own"}]})
    visible = [set(each.engine.ids[~each.hiding(cheap)]) for each in (step, fresh)]
    assert visible[0] == visible[1]
    counts = [
        count_facets(each.facets, np.flatnonzero(~each.hidden).astype(np.int32), most=1_000)
        for each in (step, fresh)
    ]
    assert counts[0] == counts[1]

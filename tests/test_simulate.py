"""The simulated shop is one shop a seed, obeys its own truth, and behaves like a shop."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError
from scipy import sparse, stats
from sklearn.feature_extraction.text import TfidfVectorizer

from tailrec import columns as c
from tailrec.errors import RecipeError
from tailrec.simulate import SimulatedShop, Simulation, simulate
from tailrec.tail.exposure_report import gini
from tailrec.tail.segments import is_tail


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    """A shop with a few products to a type."""
    return simulate(Simulation(n_users=600, n_items=500, visits=10, n_days=90), seed=11)


def rows_of(ids: pl.Series) -> np.ndarray:
    """Rows of the truth, which ids count."""
    return ids.str.slice(1).cast(pl.Int32).to_numpy()


def of_type(shop: SimulatedShop, *kinds: str) -> pl.DataFrame:
    return shop.events.filter(pl.col(c.TYPE).is_in(kinds))


def test_a_seed_is_a_shop():
    recipe = Simulation(n_users=50, n_items=80, n_days=20)
    first, again, other = (simulate(recipe, seed=seed) for seed in (3, 3, 4))
    for name in ("items", "users", "events"):
        assert_frame_equal(getattr(first, name), getattr(again, name))
    assert first.truth.user_factors.tobytes() == again.truth.user_factors.tobytes()
    assert not first.events.equals(other.events)
    assert not first.items.equals(other.items)


def test_tables_have_the_shops_columns_and_refer_to_each_other(shop):
    for table, schema in ((shop.items, c.ITEMS), (shop.users, c.USERS), (shop.events, c.EVENTS)):
        assert dict(table.schema) == dict(schema)
    assert shop.items[c.ITEM_ID].n_unique() == len(shop.items) == 500
    assert shop.users[c.USER_ID].n_unique() == len(shop.users) == 600
    assert shop.events[c.EVENT_ID].n_unique() == len(shop.events)
    assert shop.events[c.TIMESTAMP].is_sorted()
    assert set(shop.events[c.ITEM_ID]) <= set(shop.items[c.ITEM_ID])
    assert set(shop.events[c.USER_ID]) == set(shop.users[c.USER_ID])
    assert set(shop.events[c.TYPE]) == {
        "impression", "click", "view", "cart", "purchase", "review"
    }  # fmt: skip
    for required in c.REQUIRED["events"]:
        assert shop.events[required].null_count() == 0
    assert (shop.items[c.COST] < shop.items[c.PRICE]).all()
    assert of_type(shop, "purchase")[c.VALUE].min() > 0
    assert set(of_type(shop, "review")[c.VALUE].unique()) <= {1.0, 2.0, 3.0, 4.0, 5.0}


def test_nothing_happens_before_the_product_or_the_person_is_there(shop):
    joined = shop.events.join(shop.items.select(c.ITEM_ID, c.CREATED_AT), on=c.ITEM_ID).join(
        shop.users.select(c.USER_ID, joined=c.CREATED_AT), on=c.USER_ID
    )
    assert (joined[c.TIMESTAMP] >= joined[c.CREATED_AT]).all()
    assert (joined[c.TIMESTAMP] >= joined["joined"]).all()
    late = shop.items[c.CREATED_AT] > shop.items[c.CREATED_AT].min()
    assert late.sum() == 150
    sold = set(of_type(shop, "view")[c.ITEM_ID])
    assert len(sold & set(shop.items.filter(late)[c.ITEM_ID])) > 75


def test_leaving_impressions_out_changes_nothing_else():
    recipe = Simulation(n_users=40, n_items=60, n_days=10)
    logged = simulate(recipe, seed=1).events
    short = simulate(recipe.model_copy(update={"impressions": False}), seed=1).events
    assert_frame_equal(logged.filter(pl.col(c.TYPE) != "impression"), short)
    assert len(short) < len(logged)


def test_more_people_find_the_same_products():
    few, many = (simulate(Simulation(n_users=n, n_items=90), seed=5) for n in (20, 60))
    assert_frame_equal(few.items, many.items)


def test_click_rates_are_the_truths_within_binomial_error(shop):
    shown = of_type(shop, "impression").join(
        of_type(shop, "click").select(c.SLATE_ID, c.ITEM_ID, clicked=pl.lit(value=True)),
        on=[c.SLATE_ID, c.ITEM_ID],
        how="left",
    )
    user, item = rows_of(shown[c.USER_ID]), rows_of(shown[c.ITEM_ID])
    position = shown[c.POSITION].to_numpy() - 1
    chance = shop.truth.probability(user, item) * shop.truth.attention[position]
    clicked = shown["clicked"].fill_null(value=False).to_numpy()
    assert clicked.sum() == len(of_type(shop, "click"))
    tenth = np.searchsorted(np.quantile(chance, np.linspace(0.1, 0.9, 9)), chance)
    for groups in (position, tenth):
        for group in np.unique(groups):
            own = groups == group
            error = np.sqrt((chance[own] * (1 - chance[own])).sum())
            assert abs(clicked[own].sum() - chance[own].sum()) < 4 * error, group
    assert chance[position == 0].mean() > 2 * chance[position == 9].mean()


def test_purchase_rates_are_the_truths_within_binomial_error(shop):
    looks = of_type(shop, "view", "click")
    bought = of_type(shop, "purchase").filter(
        pl.col(c.SESSION_ID).is_in(looks[c.SESSION_ID].implode())
    )
    chance = shop.truth.probability(
        rows_of(looks[c.USER_ID]), rows_of(looks[c.ITEM_ID]), of="purchase"
    )
    error = np.sqrt((chance * (1 - chance)).sum())
    assert abs(len(bought) - chance.sum()) < 4 * error


def test_propensities_are_the_frequencies_with_which_items_stand_at_a_position():
    recipe = Simulation(n_users=4000, n_items=40, n_days=2, visits=3, slate_size=4, zipf=2.5)
    shop = simulate(recipe, seed=2)
    shown = of_type(shop, "impression").with_columns(
        day=(pl.col(c.TIMESTAMP) - recipe.start).dt.total_days(), item=rows_of_expr()
    )
    assert shown.group_by(c.SLATE_ID).agg(pl.col(c.ITEM_ID).n_unique())[
        c.ITEM_ID
    ].unique().to_list() == [4]
    for day in (0, 1):
        chance = shop.truth.display(day)
        assert chance.sum() == pytest.approx(1)
        assert chance.max() == pytest.approx(1 / 4)  # one item is in every slate
        own = shown.filter(pl.col("day") == day)
        assert own[c.PROPENSITY].to_numpy() == pytest.approx(chance[own["item"].to_numpy()])
        table = np.zeros((4, 40))
        np.add.at(table, (own[c.POSITION].to_numpy() - 1, own["item"].to_numpy()), 1)
        there = chance > 0
        assert table[:, ~there].sum() == 0
        expected = table.sum(1, keepdims=True) * chance[there]
        spread = (table[:, there] - expected) / np.sqrt(expected * (1 - chance[there]))
        assert np.abs(spread).max() < 4.5  # 320 standard normal numbers
        assert 0.8 < spread.std() < 1.2


def rows_of_expr() -> pl.Expr:
    return pl.col(c.ITEM_ID).str.slice(1).cast(pl.Int32)


def test_inverse_propensities_recover_the_value_of_another_policy(shop):
    # What would a policy earn that shows any product that is there, at random?
    shown = of_type(shop, "impression")
    clicks = of_type(shop, "click").with_columns(
        day=(pl.col(c.TIMESTAMP) - shop.truth.recipe.start).dt.total_days()
    )
    there = np.array([(shop.truth.display(day) > 0).sum() for day in range(90)])
    weight = 1 / (there[clicks["day"].to_numpy()] * clicks[c.PROPENSITY].to_numpy())
    estimate = weight.sum() / len(shown)
    error = np.sqrt((weight**2).sum()) / len(shown)
    visits = shown.filter(pl.col(c.POSITION) == 1).with_columns(
        day=(pl.col(c.TIMESTAMP) - shop.truth.recipe.start).dt.total_days()
    )
    truth = []
    for user, day in zip(rows_of(visits[c.USER_ID]), visits["day"], strict=True):
        items = np.flatnonzero(shop.truth.display(day)).astype(np.int32)
        truth.append(shop.truth.probability(np.full(len(items), user), items).mean())
        if len(truth) == 1500:
            break
    expected = np.mean(truth) * shop.truth.attention.mean()
    assert abs(estimate - expected) < 4 * error


def test_without_taste_products_of_a_type_are_chosen_by_their_appeal():
    recipe = Simulation(
        n_users=6000, n_items=60, visits=1, steps=1, arriving=0, taste=0, drift=0, n_days=10
    )
    shop = simulate(recipe, seed=6)
    views = np.bincount(rows_of(of_type(shop, "view")[c.ITEM_ID]), minlength=60)
    assert views.sum() == 6000
    kinds = shop.items[c.CATEGORY].rank("dense").to_numpy() - 1
    of_kind = np.bincount(kinds, views)[kinds]
    expected = of_kind * shop.truth.appeal / np.bincount(kinds, shop.truth.appeal)[kinds]
    misfit = ((views - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(misfit, 60 - len(np.unique(kinds))) > 1e-3


@pytest.mark.parametrize("zipf", [0.3, 1.3])
def test_appeal_is_zipfian(zipf):
    truth = simulate(Simulation(n_users=1, n_items=200, zipf=zipf), seed=1).truth
    falling = np.sort(truth.appeal)[::-1]
    assert falling.sum() == pytest.approx(1)
    assert falling[0] / falling == pytest.approx(np.arange(1, 201) ** zipf)


def test_a_larger_exponent_leaves_the_tail_less():
    shares = []
    for zipf in (0.3, 0.8, 1.3):
        shop = simulate(Simulation(n_users=500, n_items=500, zipf=zipf), seed=6)
        views = np.bincount(rows_of(of_type(shop, "view")[c.ITEM_ID]), minlength=500)
        shares.append(views[is_tail(views, "pareto")].sum() / views.sum())
    assert 0.6 > shares[0] > shares[1] > shares[2] > 0.1


def test_the_tail_is_long_and_holds_much_of_the_demand(shop):
    views = np.bincount(rows_of(of_type(shop, "view")[c.ITEM_ID]), minlength=500)
    assert 0.4 < gini(views) < 0.8
    assert 0.2 < views[is_tail(views, "pareto")].sum() / views.sum() < 0.6


def test_the_next_product_is_related_to_the_last(shop):
    views = of_type(shop, "view").join(
        shop.items.with_columns(branch=pl.col(c.CATEGORY).str.replace(" > [^>]*$", "")).select(
            c.ITEM_ID, "branch"
        ),
        on=c.ITEM_ID,
        maintain_order="left",
    )
    by_visit = views.sort(c.SESSION_ID, c.TIMESTAMP)
    same_visit = by_visit[c.SESSION_ID][1:] == by_visit[c.SESSION_ID][:-1]
    stays = (by_visit["branch"][1:] == by_visit["branch"][:-1]).filter(same_visit).mean()
    by_chance = (views["branch"].value_counts(normalize=True)["proportion"] ** 2).sum()
    assert stays > 0.6 > 3 * by_chance


def test_words_tell_of_hidden_nature(shop):
    words = TfidfVectorizer().fit_transform(shop.items[c.TITLE] + " " + shop.items[c.CATEGORY])
    alike = (words @ words.T).toarray()
    hidden = shop.truth.item_factors @ shop.truth.item_factors.T
    apart = np.triu_indices(len(alike), 1)
    assert stats.spearmanr(alike[apart], hidden[apart]).statistic > 0.3


def test_consumables_are_bought_again_about_a_month_later(shop):
    orders = of_type(shop, "purchase").sort(c.TIMESTAMP)
    looks = of_type(shop, "view", "click")[c.SESSION_ID].implode()
    again = orders.filter(~pl.col(c.SESSION_ID).is_in(looks))
    assert len(again) > 50
    rooms = again.join(shop.items, on=c.ITEM_ID)[c.CATEGORY].str.split(" > ").list.first()
    assert set(rooms) <= {"Beauty", "Stationery", "Grocery"}
    pairs = orders.join(
        again.select(c.USER_ID, c.ITEM_ID, later=c.TIMESTAMP), on=[c.USER_ID, c.ITEM_ID]
    )
    pause = pairs.filter(pl.col(c.TIMESTAMP) < pl.col("later")).select(
        (pl.col("later") - pl.col(c.TIMESTAMP)).dt.total_days().alias("days")
    )["days"]
    assert pause.median() == pytest.approx(30, abs=3)
    none = simulate(Simulation(n_users=60, n_items=200, repeat=0), seed=1)
    looks = of_type(none, "view", "click")[c.SESSION_ID].implode()
    assert of_type(none, "purchase").filter(~pl.col(c.SESSION_ID).is_in(looks)).is_empty()


def test_models_find_what_popularity_and_behaviour_alone_do_not():
    shop = simulate(Simulation(n_users=1500, n_items=1500), seed=1)
    looked = of_type(shop, "view", "click").select(c.USER_ID, c.ITEM_ID)
    pairs = looked.unique(keep="first", maintain_order=True)
    last = pairs.with_row_index().group_by(c.USER_ID).agg(pl.col("index").last(), pl.len())
    test_rows = last.filter(pl.col("len") >= 3)["index"].sort().to_numpy()
    user, item = rows_of(pairs[c.USER_ID]), rows_of(pairs[c.ITEM_ID])
    train = np.setdiff1d(np.arange(len(pairs)), test_rows)
    seen = sparse.csr_array((np.ones(len(train)), (user[train], item[train])), (1500, 1500))
    counts = np.asarray(seen.sum(0), np.int64)
    tail = is_tail(counts, "pareto")
    words = TfidfVectorizer().fit_transform(shop.items[c.TITLE] + " " + shop.items[c.CATEGORY])
    inverse = np.linalg.inv((seen.T @ seen).toarray() + 50 * np.eye(1500))
    ease = -inverse / np.diag(inverse)
    text = (words @ words.T).toarray()
    for square in (ease, text):
        np.fill_diagonal(square, 0)
    people, target = user[test_rows], item[test_rows]
    history = seen[people].toarray()
    found = {}
    for name, scores in {
        "popular": np.tile(counts, (len(people), 1)),
        "ease": history @ ease,
        "text": history @ text,
    }.items():
        rank = (
            np.where(history > 0, -np.inf, scores) > scores[range(len(people)), target][:, None]
        ).sum(1)
        found[name] = (rank < 10).mean(), (rank < 20)[tail[target]].mean()
    assert found["ease"][0] > 2.5 * found["popular"][0]
    assert found["text"][1] > 1.3 * found["ease"][1]
    assert found["ease"][0] > found["text"][0]


def test_a_written_shop_is_read_back_as_it_was(shop, tmp_path):
    items, users, events = shop.write(tmp_path / "raw")
    assert [p.name for p in (items, users, events)] == [
        "items.csv",
        "users.jsonl",
        "events.parquet",
    ]
    assert_frame_equal(pl.read_parquet(events), shop.events)
    read = pl.read_csv(items, schema_overrides={c.IMAGES: pl.String})
    assert_frame_equal(
        read.select(c.ITEM_ID, c.TITLE, c.PRICE), shop.items.select(c.ITEM_ID, c.TITLE, c.PRICE)
    )
    assert len(pl.read_ndjson(users)) == 600


def test_a_dirty_shop_holds_every_defect_that_cleaning_looks_for(shop, tmp_path):
    paths = shop.write(tmp_path / "a", dirty=True)
    again = shop.write(tmp_path / "b", dirty=True)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    events = pl.read_parquet(paths[2])
    items = pl.read_csv(paths[0], infer_schema=False)
    assert events.is_duplicated().sum() > 100
    assert events[c.USER_ID].null_count() > 100
    cancelled = events.filter(pl.col(c.EVENT_ID).str.starts_with("C")).unique()
    assert len(cancelled) > 10
    orders = cancelled.with_columns(pl.col(c.EVENT_ID).str.slice(1)).join(
        shop.events, on=[c.EVENT_ID, c.USER_ID, c.ITEM_ID]
    )
    assert len(orders) == len(cancelled)
    assert (orders[c.VALUE] == -orders[f"{c.VALUE}_right"]).all()
    assert events.filter(pl.col(c.ITEM_ID) == "POST").height > 10
    assert events.filter(pl.col(c.USER_ID) == "U-CRAWLER").height > 1000
    assert items[c.TITLE].str.contains("Ã").any()
    assert items[c.DESCRIPTION].str.contains("<p>").any()
    assert items.filter(pl.col(c.PRICE) == "n/a").height > 0
    assert items[c.ITEM_ID].is_duplicated().any()
    intact = events.join(shop.events, on=shop.events.columns, how="semi", nulls_equal=True)
    assert intact[c.EVENT_ID].n_unique() > 0.97 * len(shop.events)


@pytest.mark.parametrize("n_items", [2, 11, 70])
def test_the_smallest_shops_work(n_items):
    shop = simulate(Simulation(n_users=1, n_items=n_items, slate_size=1, n_days=2), seed=0)
    assert len(shop.items) == n_items
    assert len(shop.events) > 0


def test_the_shop_opens_at_the_start_in_any_zone():
    start = datetime(2020, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    shop = simulate(Simulation(n_users=5, n_items=20, n_days=3, start=start), seed=0)
    assert shop.items[c.CREATED_AT].min() == datetime(2020, 5, 1, tzinfo=UTC)
    assert shop.events[c.TIMESTAMP].max() < datetime(2020, 5, 4, 1, tzinfo=UTC)


def test_a_slate_longer_than_the_catalogue_is_refused():
    with pytest.raises(ValidationError, match="a slate of 10 needs as many products"):
        Simulation(n_items=12, arriving=0.5)
    with pytest.raises(RecipeError, match="n_users"):
        Simulation.parse({"n_users": 0})

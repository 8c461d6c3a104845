"""The core model against the formula it is made of, written out by hand."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import sparse

from tailrec.candidates.gram import Bonds, gram
from tailrec.candidates.kernel import Lessons, TextKernel
from tailrec.candidates.linear import Linear, LinearModel
from tailrec.dataset import Catalog, Dataset, Features
from tailrec.errors import RecipeError
from tailrec.items import QueryBatch

N_ITEMS, N_USERS, N_WORDS, N_DIMS = 30, 60, 40, 8
Matrix = NDArray[np.float64]
PLAIN = Linear(
    words=2,
    meaning=3,
    whiten=0,
    lift=0,
    ridge=4,
    text=0.8,
    decay=0.7,
    ahead=0.4,
    reverse=0,
    basket=0,
    neighbours=N_ITEMS,
)


def random_dataset(rng: np.random.Generator) -> Dataset:
    """Users with 0 to 7 events; some events share a basket; the last items have no events."""
    lengths = rng.integers(0, 8, N_USERS)
    ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(ptr[-1])
    steps = [np.cumsum(rng.random(size) < 0.7) for size in lengths]
    return Dataset(
        Catalog(pl.DataFrame({"item_id": [f"i{i:02}" for i in range(N_ITEMS)]})),
        np.array([f"u{u}" for u in range(N_USERS)], object),
        ptr,
        np.concatenate([rng.permutation(N_ITEMS - 3)[:size] for size in lengths]).astype(np.int32),
        np.arange(n, dtype=np.int64),
        np.concatenate([step - step[:1].sum() for step in steps]).astype(np.int32),
        rng.uniform(0.5, 1, n).astype(np.float32),
        np.zeros(n, np.int8),
        np.full(n, np.nan, np.float32),
        n,
    )


def unit(rows: Matrix) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_features(rng: np.random.Generator, n: int = N_ITEMS) -> Features:
    words = rng.random((n, N_WORDS)) * (rng.random((n, N_WORDS)) < 0.3) + 1e-3
    return Features(sparse.csr_array(unit(words)), unit(rng.normal(size=(n, N_DIMS))))


def rows_of_cuts(data: Dataset, decay: float, ahead: float) -> tuple[Matrix, Matrix]:
    """P and F, one row a cut, as the model's definition says; the last cut follows everything."""
    before, after = [], []
    for user in range(data.n_users):
        own = slice(data.ptr[user], data.ptr[user + 1])
        item, step, weight = data.item[own], data.step[own], data.weight[own]
        for cut in range(1, int(step.max(initial=-1)) + 1):
            row = np.zeros((2, N_ITEMS))
            past = step < cut
            np.add.at(row[0], item[past], weight[past] * decay ** (cut - 1 - step[past]))
            np.add.at(row[1], item[~past], weight[~past] * ahead ** (step[~past] - cut))
            before.append(row[0])
            after.append(row[1])
    return np.array(before), np.array(after)


def kernel_of(features: Features, a: float, b: float) -> Matrix:
    words = features.words.toarray().astype(np.float64)
    meaning = features.dense.astype(np.float64) @ features.dense.T
    return np.asarray(a * words @ words.T + b * np.maximum(meaning, 0) ** 3)


@pytest.mark.parametrize(("decay", "ahead"), [(0.5, 0.5), (0.9, 0.3)])
def test_gram_is_the_product_of_cuts(rng: np.random.Generator, decay: float, ahead: float) -> None:
    data = random_dataset(rng)
    before, after = rows_of_cuts(data, decay, ahead)
    found = gram(data, data.weight, window=50, bonds=Bonds(decay, ahead, 0.0, 0.0))
    shape = (N_ITEMS, N_ITEMS)
    together = sparse.csr_array((found.together, found.indices, found.indptr), shape=shape)
    leads = sparse.csr_array((found.leads, found.indices, found.indptr), shape=shape)
    np.testing.assert_allclose(together.toarray(), before.T @ before, atol=1e-4)
    np.testing.assert_allclose(found.diagonal, np.diag(before.T @ before), atol=1e-4)
    followed = before.T @ after
    np.fill_diagonal(followed, 0)
    np.testing.assert_allclose(leads.toarray().T, followed, atol=1e-4)


def test_pairs_beyond_the_window_are_left_out(rng: np.random.Generator) -> None:
    data = random_dataset(rng)
    found = gram(data, data.weight, window=1, bonds=Bonds(0.9, 0.9, 0.0, 0.0))
    near = set()
    for user in range(data.n_users):
        for a in range(data.ptr[user], data.ptr[user + 1]):
            for b in range(data.ptr[user], data.ptr[user + 1]):
                if abs(data.step[a] - data.step[b]) <= 1:
                    near.add((int(data.item[a]), int(data.item[b])))
    row = np.repeat(np.arange(N_ITEMS), np.diff(found.indptr))
    assert set(zip(row.tolist(), found.indices.tolist(), strict=True)) == near


@pytest.mark.parametrize("solver", ["local", "dense"])
def test_the_model_solves_its_equation(rng: np.random.Generator, solver: str) -> None:
    """With every item a neighbour, both solvers give B = A⁻¹T, but for the item's own row."""
    data, features = random_dataset(rng), random_features(rng)
    recipe = PLAIN.model_copy(update={"solver": solver})
    model = recipe.fit(data, features, rng=rng)
    before, after = rows_of_cuts(data, 0.7, 0.4)
    text, followed = kernel_of(features, 2, 3), before.T @ after
    matrix = before.T @ before + text + 4 * np.eye(N_ITEMS)
    np.fill_diagonal(text, 0)
    np.fill_diagonal(followed, 0)
    for item in range(N_ITEMS):
        others = np.arange(N_ITEMS)
        if solver == "local":  # an item is not among its own neighbours
            told = (text[:, item] + followed[:, item]) > 0
            others = np.flatnonzero(told & (others != item))
        inverse = np.linalg.inv(matrix[np.ix_(others, others)])
        expected = inverse @ (followed + 0.8 * text)[others, item]
        column = model.matrix[:, [item]].toarray().ravel()
        np.testing.assert_allclose(column[others], expected, atol=2e-4)


@pytest.fixture
def fitted(rng: np.random.Generator) -> tuple[Dataset, Features, LinearModel]:
    data, features = random_dataset(rng), random_features(rng)
    return data, features, Linear(neighbours=12, ridge=5).fit(data, features, rng=rng)


def one(data: Dataset, user: int, tail: float = 0.0) -> QueryBatch:
    return data.queries(np.array([user], np.int32), tail=tail)


@pytest.mark.parametrize("tail", [0.0, 0.4])
def test_explanations_add_up_to_the_score(
    fitted: tuple[Dataset, Features, LinearModel], tail: float
) -> None:
    data, _, model = fitted
    user = int(np.argmax(np.diff(data.ptr)))
    slate = model.candidates(one(data, user, tail), 10)[0]
    assert len(slate) == 10
    for item, score in zip(slate.ids, slate.scores, strict=True):
        why = model.explain(one(data, user, tail), int(item))
        assert why.score == pytest.approx(float(score), rel=1e-4)
        assert set(why.ids) <= set(data.item[data.ptr[user] : data.ptr[user + 1]])
        size = np.abs(why.behaviour + why.text)
        assert (np.diff(size) <= 1e-7).all()


def test_an_item_without_events_is_explained_by_text_alone(
    fitted: tuple[Dataset, Features, LinearModel],
) -> None:
    data, _, model = fitted
    cold = N_ITEMS - 1
    assert model.counts[cold] == 0
    users = np.flatnonzero(np.diff(data.ptr) > 3)
    parts = [model.explain(one(data, int(user)), cold) for user in users]
    assert any(len(part.ids) for part in parts)
    assert all((part.behaviour == 0).all() for part in parts)


def test_the_tail_dial_brings_rare_items_forward(
    fitted: tuple[Dataset, Features, LinearModel],
) -> None:
    data, _, model = fitted
    shown = []
    for tail in (0.0, 0.3, 0.9):
        slates = model.candidates(data.queries(tail=tail), 5)
        shown.append(model.counts[slates.ids[slates.ids >= 0]].mean())
    assert shown[0] > shown[1] > shown[2]


def test_new_items_are_solved_as_if_they_had_been_there(rng: np.random.Generator) -> None:
    """An item appended later gets the column that a fit with it would have given it."""
    data, features = random_dataset(rng), random_features(rng)
    last = N_ITEMS - 1
    recipe = PLAIN
    whole = recipe.fit(data, features, rng=rng)
    counts = data.item_counts
    assert counts[last] == 0
    short = Dataset(
        Catalog(data.catalog.table.head(last)),
        *(getattr(data, name) for name in Dataset.__dataclass_fields__ if name != "catalog"),
    )
    old = Features(features.words[:last], features.dense[:last])
    new = Features(features.words[last:], features.dense[last:])
    grown = recipe.fit(short, old, rng=rng).extended(new)
    column, expected = (whole_matrix(m)[:, last] for m in (grown, whole))
    np.testing.assert_allclose(column, expected, atol=1e-4)
    np.testing.assert_array_equal(grown.counts, counts)


def test_what_a_new_item_says_is_what_the_formula_says(rng: np.random.Generator) -> None:
    data, features = random_dataset(rng), random_features(rng)
    recipe = PLAIN
    new = random_features(rng, 1)
    grown = recipe.fit(data, features, rng=rng).extended(new)
    both = Features(
        sparse.vstack([features.words, new.words], format="csr"),
        np.concatenate([features.dense, new.dense]),
    )
    before, after = rows_of_cuts(data, 0.7, 0.4)
    text, leads = kernel_of(both, 2, 3), np.zeros((N_ITEMS + 1, N_ITEMS + 1))
    leads[:N_ITEMS, :N_ITEMS] = before.T @ after
    matrix = text + 4 * np.eye(N_ITEMS + 1)
    matrix[:N_ITEMS, :N_ITEMS] += before.T @ before
    np.fill_diagonal(text, 0)
    np.fill_diagonal(leads, 0)
    expected = np.linalg.inv(matrix)[N_ITEMS] @ (0.8 * text + leads)
    row = whole_matrix(grown)[N_ITEMS]
    np.testing.assert_allclose(row[:N_ITEMS], expected[:N_ITEMS], atol=1e-4)


def whole_matrix(model: LinearModel) -> np.ndarray:
    """B with what arrivals add to it, dense [I + N, I + N]."""
    late, _ = model.arrivals.matrix(model.recipe.text)
    whole = late.toarray()
    n_fitted = model.matrix.shape[0]
    whole[:n_fitted, :n_fitted] += model.matrix.toarray()
    return whole


def test_arrivals_one_by_one_are_arrivals_at_once(rng: np.random.Generator) -> None:
    data, features = random_dataset(rng), random_features(rng)
    model = PLAIN.fit(data, features, rng=rng)
    new = random_features(rng, 5)
    at_once = model.extended(new)
    one_by_one = model
    for row in range(5):
        one_by_one = one_by_one.extended(new.rows(slice(row, row + 1)))
    np.testing.assert_allclose(whole_matrix(one_by_one), whole_matrix(at_once), atol=1e-6)
    assert np.shares_memory(one_by_one.matrix.data, model.matrix.data)


def test_slates_with_arrivals_are_those_of_the_whole_matrix(rng: np.random.Generator) -> None:
    data, features = random_dataset(rng), random_features(rng)
    plain = PLAIN.model_copy(update={"tilt": 0.0})
    model = plain.fit(data, features, rng=rng).extended(random_features(rng, 4))
    n_items = N_ITEMS + 4
    history = np.array([1, N_ITEMS + 2, 3], np.int32)
    weight = np.array([1.0, 0.5, 0.25], np.float32)
    nothing = np.zeros(2, np.int64)
    hidden = rng.random(n_items) < 0.3
    query = QueryBatch(
        np.array([0, 3]), history, np.zeros(3, np.int32), np.zeros(3, np.float32), weight,
        nothing, np.zeros(0, np.int32), hidden=hidden,
    )  # fmt: skip
    expected = np.zeros(n_items, np.float32)
    np.add.at(expected, history, weight)
    expected = np.where(hidden, 0, expected @ whole_matrix(model))
    found = model.candidates(query, n_items)[0]
    # Sums in another order may differ by a hair's breadth around 0.
    assert (
        set(np.flatnonzero(expected > 1e-6))
        <= set(found.ids)
        <= set(np.flatnonzero(expected > -1e-6))
    )
    np.testing.assert_allclose(found.scores, expected[found.ids], atol=1e-5)
    for item in range(n_items):
        why = model.explain(query, item)
        told = weight @ whole_matrix(model)[history, item]
        assert why.score == pytest.approx(told, abs=1e-5)


PLAIN_BONDS = Bonds(0.7, 0.4, 0.0, 0.0)


def test_whitening_makes_the_meanings_spread_evenly(rng: np.random.Generator) -> None:
    data = random_dataset(rng)
    skewed = unit(rng.normal(size=(N_ITEMS, 6)) * [9, 3, 1, 1, 1, 1] + 5)
    features = Features(sparse.csr_array((N_ITEMS, 1), dtype=np.float32), skewed)
    behaviour = gram(data, data.weight, window=9, bonds=PLAIN_BONDS)
    kernel = TextKernel.fit(features, behaviour, Lessons(1.0, 1.0, 1e-6, 0.0, 0.0, 9))
    turned = (skewed - kernel.centre) @ kernel.turn
    np.testing.assert_allclose(np.cov(turned, rowvar=False, bias=True), np.eye(6), atol=0.02)


def two_kinds(rng: np.random.Generator) -> tuple[Dataset, Features]:
    """People stay within the odd or the even items; word 0 and axis 0 tell them apart, the
    other words and axes say nothing."""
    data = random_dataset(rng)
    kind = np.arange(N_ITEMS) % 2
    own = kind[data.item] == (data.user % 2)
    words = (rng.random((N_ITEMS, 6)) < 0.5).astype(np.float64)
    words[:, 0] = kind
    meaning = rng.normal(size=(N_ITEMS, 5))
    meaning[:, 0] = 2.0 * kind - 1 + 0.1 * meaning[:, 0]
    texts = Features(sparse.csr_array(unit(words + 1e-6)), unit(meaning))
    return data.keep(own), texts


def test_words_that_go_with_being_had_together_count_more(rng: np.random.Generator) -> None:
    data, features = two_kinds(rng)
    behaviour = gram(data, data.weight, window=9, bonds=PLAIN_BONDS)
    lifts = [TextKernel.fit(features, behaviour, Lessons(1, 1, 0, p, 0, 9)).lift for p in (0, 1)]
    np.testing.assert_array_equal(lifts[0], 1)
    assert lifts[1][0] > 1.1 * lifts[1][1:].max()


def test_the_direction_along_which_people_stay_weighs_most(rng: np.random.Generator) -> None:
    data, features = two_kinds(rng)
    behaviour = gram(data, data.weight, window=9, bonds=PLAIN_BONDS)
    plain, taught = (
        TextKernel.fit(features, behaviour, Lessons(1, 1, 1e-3, 0, p, 9)).vectors(features).dense
        for p in (0.0, 1.0)
    )
    kind = np.arange(N_ITEMS) % 2
    same = kind[:, None] == kind
    apart = [(d @ d.T)[same].mean() - (d @ d.T)[~same].mean() for d in (plain, taught)]
    assert apart[1] > apart[0] + 0.3


def test_the_dense_solver_refuses_a_large_shop(rng: np.random.Generator) -> None:
    catalog = Catalog(pl.DataFrame({"item_id": [str(i) for i in range(8_001)]}))
    nothing = np.zeros(0, np.int32)
    data = Dataset(
        catalog,
        np.zeros(0, object),
        np.zeros(1, np.int64),
        nothing,
        nothing.astype(np.int64),
        nothing,
        nothing.astype(np.float32),
        nothing.astype(np.int8),
        nothing.astype(np.float32),
        0,
    )
    features = Features(
        sparse.csr_array((8_001, 1), dtype=np.float32), np.zeros((8_001, 1), np.float32)
    )
    with pytest.raises(RecipeError, match=r"8001 items .* at most 8000"):
        Linear(solver="dense").fit(data, features, rng=rng)


def test_two_fits_give_identical_arrays(fitted: tuple[Dataset, Features, LinearModel]) -> None:
    data, features, model = fitted
    again = Linear(neighbours=12, ridge=5).fit(data, features, rng=np.random.default_rng(99))
    for name, values in model.arrays().items():
        np.testing.assert_array_equal(values, again.arrays()[name])


def test_a_basket_is_one_more_row_on_both_sides(rng: np.random.Generator) -> None:
    data = random_dataset(rng)
    plain, with_baskets = (
        gram(data, data.weight, window=9, bonds=Bonds(0.7, 0.4, 0.0, basket))
        for basket in (0.0, 0.5)
    )
    rows = []
    for user in range(data.n_users):
        own = slice(data.ptr[user], data.ptr[user + 1])
        for step in np.unique(data.step[own]):
            inside = data.step[own] == step
            if inside.sum() > 1:
                rows.append(np.zeros(N_ITEMS))
                np.add.at(rows[-1], data.item[own][inside], data.weight[own][inside])
    expected = 0.5 * np.array(rows).T @ np.array(rows)
    added = with_baskets.together - plain.together
    row = np.repeat(np.arange(N_ITEMS), np.diff(plain.indptr))
    np.testing.assert_allclose(added, expected[row, plain.indices], atol=1e-4)
    led = with_baskets.leads - plain.leads
    apart = row != plain.indices
    np.testing.assert_allclose(led[apart], expected[row, plain.indices][apart], atol=1e-4)

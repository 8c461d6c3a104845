"""Noise is calibrated by closed forms, nobody changes much, and an attack fails as it must."""

import json
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binomtest, kstest, norm
from tests.worlds import crowd, ring, shop, words_of

from tailrec.candidates.gram import Bonds, Gram, gram, norms
from tailrec.candidates.linear import Linear, LinearModel
from tailrec.candidates.popular import Popular
from tailrec.candidates.private import (
    Noise,
    Privacy,
    clipped_counts,
    clipped_weights,
    composed_epsilon,
    noised_gram,
    spent_delta,
    tightness,
)
from tailrec.data.repurchase import NEVER
from tailrec.data.split import leave_one_out
from tailrec.dataset import Dataset
from tailrec.engine import EngineRecipe
from tailrec.errors import RecipeError
from tailrec.features.build import FeatureRecipe
from tailrec.items import Float32Array, Float64Array
from tailrec.shop import Shop
from tailrec.shop_recipe import ShopRecipe, write_source
from tailrec.tuning_search import Goal, search_options

BONDS = Bonds(0.75, 0.3, 0.1, 0.3)
WINDOW = 30
RNG = np.random.default_rng


def crowded(n_users: int = 40) -> Dataset:
    """Random histories with baskets, repeats and weights of every kind."""
    rng = RNG(3)
    data = crowd(rng, n_users=n_users, n_items=20)
    step = np.concatenate(
        [np.cumsum(rng.random(b - a) < 0.6) for a, b in pairwise(data.ptr)]
    ).astype(np.int32)
    weight = rng.choice([0.3, 0.7, 1.0], data.n_events).astype(np.float32)
    return replace(data, step=step, weight=weight)


def of_user(data: Dataset, user: int, *, alone: bool) -> Dataset:
    """The data of one user alone, or of all others."""
    mine = data.user == user
    return data.keep(mine if alone else ~mine)


def full(sums: Gram, *, diagonal: bool = True) -> tuple[Float64Array, Float64Array]:
    """PᵀP and PᵀF, dense [I, I]; the stored entries of the diagonal come from `diagonal`."""
    n = len(sums.diagonal)
    both = np.zeros((2, n, n))
    for row in range(n):
        own = slice(sums.indptr[row], sums.indptr[row + 1])
        both[0, row, sums.indices[own]] = sums.together[own]
        both[1, row, sums.indices[own]] = sums.leads[own]
    if diagonal:
        np.fill_diagonal(both[0], sums.diagonal)
    return both[0], both[1]


def exact(data: Dataset, weight: Float32Array) -> Gram:
    return gram(data, weight, window=WINDOW, bonds=BONDS)


# ---- the calibration


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_delta_is_the_integral_that_it_stands_for(epsilon: float, mu: float) -> None:
    """δ(ε) = ∫ max(p − e^ε q, 0) of two normal densities, μ apart."""
    start = epsilon / mu + mu / 2  # where the integrand begins to be above 0
    integral, _ = quad(
        lambda x: norm.pdf(x, mu) - math.exp(epsilon + norm.logpdf(x)), start, start + 40
    )
    assert spent_delta(epsilon, mu) == pytest.approx(integral, rel=1e-6, abs=1e-14)


def test_without_epsilon_delta_is_the_distance_of_the_two() -> None:
    assert spent_delta(0, 0.7) == pytest.approx(2 * norm.cdf(0.35) - 1, rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1, 3, 10, 1e3, 1e6])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_the_noise_is_no_more_than_the_budget_asks_for(epsilon: float, delta: float) -> None:
    mu = tightness(epsilon, delta)
    assert spent_delta(epsilon, mu) == pytest.approx(delta, rel=1e-4)
    if epsilon < 1:  # where the older bound holds, it asks for more
        assert 1 / mu < math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def test_known_values_of_the_calibration() -> None:
    """As printed by the authors' own program for sensitivity 1: ε = 1 and 0.1, δ = 10⁻⁵."""
    assert 1 / tightness(1, 1e-5) == pytest.approx(3.7306, abs=1e-4)
    assert 1 / tightness(0.1, 1e-5) == pytest.approx(30.7496, abs=1e-4)


def test_the_shares_of_the_budget_add_up_to_it() -> None:
    recipe = Privacy(epsilon=2, delta=1e-6, clip=4, count_clip=3, counts=0.2)
    spent = recipe.spend(10)
    together = math.hypot(4 / spent.pair_noise, 3 / spent.count_noise)
    assert together == pytest.approx(tightness(2, 1e-6), rel=1e-9)
    assert (spent.epsilon, spent.delta) == (2, 1e-6)


def test_delta_follows_the_number_of_people_in_powers_of_ten() -> None:
    told = [Privacy().spend(n).delta for n in (0, 10, 99, 100, 999, 22_363)]
    assert told == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-5])
    assert all(d < 1 / max(n, 1) for d, n in zip(told, (0, 10, 99, 100, 999, 22_363), strict=True))


def test_several_fits_spend_more_and_less_than_their_sum() -> None:
    assert composed_epsilon(1, 1e-5, 1) == pytest.approx(1, rel=1e-6)
    four = composed_epsilon(1, 1e-5, 4)
    assert 2 < four < 4
    assert spent_delta(four, 2 * tightness(1, 1e-5)) == pytest.approx(1e-5, rel=1e-4)


# ---- what one person can change


def test_norms_are_those_of_each_user_alone() -> None:
    data = crowded()
    found = norms(data, data.weight, window=WINDOW, bonds=BONDS)
    for user in range(data.n_users):
        own = of_user(data, user, alone=True)
        assert found[user] == pytest.approx(
            np.linalg.norm(full(exact(own, own.weight))), rel=1e-4, abs=1e-6
        )
    assert found[0] == 0
    assert (found[1:] > 0).any()


@pytest.mark.parametrize("clip", [0.5, 2.0, 1e6])
def test_nobody_changes_the_sums_by_more_than_the_clip(clip: float) -> None:
    data = crowded()
    bounds = {"window": WINDOW, "bonds": BONDS}

    def sums(known: Dataset) -> Float64Array:
        weight = clipped_weights(known, known.weight, clip, **bounds)  # type: ignore[arg-type]
        return np.stack(full(exact(known, weight)))

    whole = sums(data)
    # All that is clipped is clipped for each user alone, so everybody may be left out.
    changes = [
        np.linalg.norm(whole - sums(of_user(data, user, alone=False)))
        for user in range(data.n_users)
    ]
    assert max(changes) <= clip * (1 + 1e-4)
    raw = norms(data, data.weight, window=WINDOW, bonds=BONDS)
    assert max(changes) == pytest.approx(min(clip, raw.max()), rel=1e-3)


def test_nobody_changes_the_counts_by_more_than_their_clip() -> None:
    data = crowded()
    whole = clipped_counts(data, 2.0)
    changes = [
        np.linalg.norm(whole - clipped_counts(of_user(data, user, alone=False), 2.0))
        for user in range(data.n_users)
    ]
    assert max(changes) == pytest.approx(2.0)
    assert np.array_equal(clipped_counts(data, 1e6), data.item_counts)


# ---- the noise


@pytest.mark.parametrize("seed", [11, None])
def test_noise_is_normal_and_uniform(seed: int | None) -> None:
    luck = Noise(seed)
    assert kstest(luck.gauss(50_000), "norm").pvalue > 1e-4
    assert kstest(luck.uniform(50_000), "uniform").pvalue > 1e-4
    tail = luck.tail(50_000, 3.0)
    assert tail.min() >= 3
    assert kstest(tail, lambda x: (norm.cdf(x) - norm.cdf(3)) / norm.sf(3)).pvalue > 1e-4
    assert np.bincount(luck.below(50_000, 5)).tolist() == pytest.approx([10_000] * 5, rel=0.06)


def test_tails_reach_as_far_as_thresholds() -> None:
    assert 30 <= Noise(0).tail(10, 30.0).min() < 31


def test_a_seed_repeats_and_the_operating_system_does_not() -> None:
    assert np.array_equal(Noise(5).gauss(9), Noise(5).gauss(9))
    assert not np.array_equal(Noise(5).gauss(9), Noise(6).gauss(9))
    assert not np.array_equal(Noise(None).gauss(9), Noise(None).gauss(9))


def dense_sums(n: int, value: float) -> Gram:
    """All items with each other, every entry the same."""
    column = np.tile(np.arange(n, dtype=np.int32), n)
    values = np.full(n * n, value, np.float32)
    ptr = np.arange(n + 1, dtype=np.int64) * n
    leads = np.where(column == np.repeat(np.arange(n), n), 0, values).astype(np.float32)
    return Gram(ptr, column, values, leads, np.full(n, value, np.float32))


def test_every_entry_gets_noise_of_the_scale_promised() -> None:
    n, scale = 120, 2.0
    noised = noised_gram(dense_sums(n, 1000.0), scale, 5.0, Noise(0))
    together, leads = full(noised)
    off = ~np.eye(n, dtype=np.bool_)
    assert np.array_equal(together, together.T)
    # Bounded by the geometric mean of the diagonal: look at what lies below.
    assert (together <= np.sqrt(np.outer(noised.diagonal, noised.diagonal)) * (1 + 1e-6)).all()
    assert np.std(leads[off] - 1000) == pytest.approx(scale, rel=0.03)
    assert np.mean(leads[off] - 1000) == pytest.approx(0, abs=5 * scale / n)
    assert np.std(noised.diagonal - 1000) == pytest.approx(scale, rel=0.2)
    assert not leads[~off].any()
    diagonal = replace(dense_sums(n, 1000.0), diagonal=np.full(n, 9000, np.float32))
    upper = full(noised_gram(diagonal, scale, 5.0, Noise(1)))[0][np.triu_indices(n, 1)]
    assert np.std(upper - 1000) == pytest.approx(scale / math.sqrt(2), rel=0.04)


def test_what_was_zero_passes_as_often_as_noise_alone_would() -> None:
    """The sparse draw has the distribution of noise on every entry, then a threshold."""
    n, scale, threshold, rounds = 15, 3.0, 2.0, 400
    exact_sums = dense_sums(n, 0.0)
    # Half of the pairs are there, and are 0; the others are not there.
    there = (exact_sums.indices + np.repeat(np.arange(n), n)) % 2 == 0
    ptr = np.concatenate([[0], np.cumsum(there.reshape(n, n).sum(axis=1))]).astype(np.int64)
    zeros = np.zeros(int(ptr[-1]), np.float32)
    high = np.full(n, 1e6, np.float32)
    half = Gram(ptr, exact_sums.indices[there], zeros, zeros, high)
    passed = np.zeros((2, n, n))
    values: list[Float64Array] = []
    luck = Noise(2)
    for _ in range(rounds):
        together, leads = full(noised_gram(half, scale, threshold, luck), diagonal=False)
        passed += np.stack([together > 0, leads > 0])
        values.append(leads[leads > 0])
    chance = norm.sf(threshold)
    off = ~np.eye(n, dtype=np.bool_)
    parity = np.add.outer(np.arange(n), np.arange(n)) % 2
    for matrix, pairs in ((passed[0], np.triu(off)), (passed[1], off)):
        for present in (0, 1):
            chosen = pairs & (parity == present)
            hits, tries = int(matrix[chosen].sum()), rounds * int(chosen.sum())
            assert binomtest(hits, tries, chance).pvalue > 1e-4
    # No place is favoured, and what passes lies as far out as it should.
    share = passed[1][off] / rounds
    assert np.std(share) == pytest.approx(math.sqrt(chance / rounds), rel=0.3)
    tail = kstest(
        np.concatenate(values) / scale, lambda x: (norm.cdf(x) - norm.cdf(2)) / norm.sf(2)
    )
    assert tail.pvalue > 1e-4


def test_thresholds_keep_the_pattern_symmetric_and_sorted() -> None:
    data = crowded()
    noised = noised_gram(exact(data, data.weight), 0.3, 2.0, Noise(0))
    together, leads = full(noised, diagonal=False)
    assert np.array_equal(together, together.T)
    assert (noised.diagonal[noised.diagonal > 0] >= 0.6 - 1e-6).all()
    assert leads[leads > 0].min() >= 0.6 - 1e-6
    for row in range(data.n_items):
        own = noised.indices[noised.indptr[row] : noised.indptr[row + 1]]
        assert (np.diff(own) > 0).all()
        assert row not in own


# ---- the model


def private(**options: float) -> Linear:
    return Linear(privacy=Privacy(**{"seed": 0, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["local", "dense"])
def test_with_a_boundless_budget_the_model_is_the_plain_one(solver: str) -> None:
    data = crowd(RNG(1), n_users=80)
    features = words_of(data)
    plain = Linear(solver=solver, prior=0.1).fit(data, features, rng=RNG(0))  # type: ignore[arg-type]
    boundless = Privacy(epsilon=1e12, delta=1e-5, clip=200, count_clip=100, threshold=8, seed=0)
    recipe = plain.recipe.model_copy(update={"privacy": boundless})
    model = recipe.fit(data, features, rng=RNG(0))
    assert np.allclose(model.matrix.toarray(), plain.matrix.toarray(), atol=2e-4)
    assert np.array_equal(model.counts, plain.counts)
    found, usual = (m.candidates(data.queries(), 5) for m in (model, plain))
    assert np.allclose(found.scores, usual.scores, atol=1e-3)
    assert (found.ids == usual.ids).mean() > 0.95  # equal scores may change places


def test_a_seed_makes_a_fit_repeatable_and_nothing_else_does() -> None:
    data = crowd(RNG(1))
    features = words_of(data)

    def fit(seed: int | None) -> LinearModel:
        return Linear(privacy=Privacy(seed=seed)).fit(data, features, rng=RNG(0))

    one, two, other = fit(4), fit(4), fit(5)
    assert all(np.array_equal(a, two.arrays()[name]) for name, a in one.arrays().items())
    assert not np.array_equal(one.counts, other.counts)
    assert not np.array_equal(fit(None).counts, fit(None).counts)


def test_nothing_in_the_artifact_is_exact() -> None:
    """With next to no budget, the model is the same whoever the people are."""
    data = crowd(RNG(1), n_users=60)
    others = crowd(RNG(9), n_users=60)
    features = words_of(data)
    recipe = Linear(prior=0.2, agreement=0.5, privacy=Privacy(epsilon=1e-6, delta=1e-9, seed=0))
    one, two = (recipe.fit(d, features, rng=RNG(0)).arrays() for d in (data, others))
    assert set(one) == set(two)
    for name, values in one.items():
        # Counts under so much noise are luck, but for a part that vanishes against it.
        assert np.allclose(values, two[name], rtol=1e-3), name
    plain = (Linear(prior=0.2).fit(d, features, rng=RNG(0)).arrays() for d in (data, others))
    assert not np.array_equal(*(arrays["counts"] for arrays in plain))


def test_little_budget_leaves_the_words() -> None:
    data = crowd(RNG(1))
    features = words_of(data)
    model = private(epsilon=0.01, threshold=6).fit(data, features, rng=RNG(0))
    assert np.allclose(model.matrix.data, model.by_text)
    assert model.matrix.nnz > 0


def test_what_was_spent_is_saved_with_the_model() -> None:
    data = crowd(RNG(1))
    model = private(epsilon=2).fit(data, words_of(data), rng=RNG(0))
    assert model.spent is not None
    loaded = model.recipe.restore(model.arrays())
    assert loaded.spent == model.spent
    told = model.spent.card()
    assert (told["epsilon"], told["delta"], told["seeded"]) == (2, 1e-2, True)
    json.dumps(told)
    assert Linear().fit(data, words_of(data), rng=RNG(0)).spent is None


# ---- an attack


def advantage(epsilon: float, rounds: int) -> float:
    """How much better than luck the best test tells whether one person was there."""
    walks = [[n % 12, (n + 1) % 12, (n + 2) % 12, (n + 5) % 12] for n in range(12)]
    target = [0, 6, 3, 9]  # pairs that nobody else has in that order
    inside = shop([*walks, target], [f"thing{n}" for n in range(12)])
    outside = of_user(inside, 12, alone=False)
    recipe = Privacy(epsilon=epsilon, delta=1e-3, clip=2, threshold=2)
    alone = of_user(inside, 12, alone=True)
    weight = clipped_weights(alone, alone.weight, 2, window=WINDOW, bonds=BONDS)
    direction = np.stack(full(exact(alone, weight)))

    def scores(data: Dataset) -> Float64Array:
        made = []
        for _ in range(rounds):
            sums = recipe.sums(data, data.weight, window=WINDOW, bonds=BONDS)
            made.append(float((np.stack(full(sums.pairs)) * direction).sum()))
        return np.sort(made)

    there, not_there = scores(inside), scores(outside)
    cuts = np.concatenate([there, not_there])
    hit = 1 - np.searchsorted(there, cuts) / rounds
    false = 1 - np.searchsorted(not_there, cuts) / rounds
    return float((hit - false).max())


def test_an_attack_by_the_person_s_own_pairs_fails_as_it_must() -> None:
    rounds = 400
    bound = 2 * norm.cdf(tightness(0.5, 1e-3) / 2) - 1
    by_luck = 1.95 * math.sqrt(2 / rounds)  # Smirnov: one in a thousand
    assert advantage(0.5, rounds) < bound + by_luck < 0.4
    # With a budget that protects nobody the same attack is never wrong.
    assert advantage(300, 50) > 0.95


# ---- the engine and the shop

PRIVATE_ENGINE = EngineRecipe(
    features=FeatureRecipe(encode=False),
    source=Linear(privacy=Privacy(epsilon=1, seed=0)),
    newcomers=Popular(),
)


def test_newcomers_and_counts_of_the_engine_are_those_of_the_noised_model() -> None:
    data = crowd(RNG(1))
    engine = PRIVATE_ENGINE.fit(data)
    assert isinstance(engine.model, LinearModel)
    assert np.array_equal(engine.counts, engine.model.counts)
    assert not np.array_equal(engine.counts, data.item_counts)
    assert (
        engine.newcomers.ids.tolist()
        == np.argsort(-engine.counts, kind="stable")[: np.count_nonzero(engine.counts)].tolist()
    )
    assert engine.spent == engine.model.spent
    assert engine.mark("abc") != engine.mark("abc")
    assert EngineRecipe(features=FeatureRecipe(encode=False)).fit(data).mark("abc") == "abc"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("[source]\nkind='linear'\nhalf_life_days=9\n[source.privacy]", "half_life_days = 9"),
        ("[source]\nkind='linear'\n[source.privacy]", "newcomers.half_life_days = 30"),
        ("[slate]\nseen='due'\n", "learn more from people"),
        ("[scenes.cart]\nseen='due'\n", "learn more from people"),
        ("[slate]\nvalue='price'\n", "learn more from people"),
        ("[launch]\nimpressions=100\n", "learn more from people"),
    ],
)
def test_what_would_tell_of_people_all_the_same_is_refused(options: str, says: str) -> None:
    base = "[newcomers]\nkind='popular'\n[source]\nkind='linear'\n[source.privacy]\nepsilon=1\n"
    whole = options if "[source.privacy]" in options else base + options
    with pytest.raises(RecipeError, match=says):
        ShopRecipe.parse(tomllib.loads(whole))
    ShopRecipe.parse(tomllib.loads(base))


def test_a_private_shop_keeps_nothing_exact_with_its_model(shop: Shop) -> None:
    path = shop.folder / "tailrec.toml"
    told = (
        "[newcomers]\nkind = 'popular'\n[source]\nkind = 'linear'\n[source.privacy]\nepsilon = 2\n"
    )
    path.write_text(told)
    with Shop.open(shop.folder) as opened:
        fitted = opened.fit()
        model = opened.model()
        fingerprint = opened.store.fingerprint()
    card = json.loads((shop.models / fitted.version / "card.json").read_text())
    assert card["privacy"]["epsilon"] == fitted.card["privacy"]["epsilon"] == 2
    assert 0 < card["privacy"]["delta"] < 1 / 150
    assert not card["privacy"]["seeded"]
    assert set(card["data"]) == {"n_items"}
    assert fingerprint[:6] not in fitted.version
    assert (model.again_days == NEVER).all()
    assert model.looks is None
    assert model.engine.spent is not None
    assert fitted.card["data"]["n_users"] > 100  # those who ran the fit are told


def test_a_search_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    data = ring()
    split = leave_one_out(data)
    with pytest.raises(RecipeError, match="beyond the budget"):
        search_options(
            private(epsilon=1.0),
            split,
            words_of(data),
            Goal(),
            folder=tmp_path,
            budget_s=0,
            seed=0,
        )


WRITTEN: tuple[Callable[[str], str], ...] = (
    lambda options: (
        f"[source]\nkind = 'linear'\n{options}\n[source.privacy]\nepsilon = 2.0 # few\n"
    ),
    lambda options: f"[source]\nkind = 'linear'\nprivacy = {{ epsilon = 2.0 }}\n{options}\n",
)


@pytest.mark.parametrize("written", WRITTEN)
def test_writing_a_choice_keeps_privacy(written: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text("[newcomers]\nkind = 'popular'\n" + written("ridge = 3.0"))
    before = ShopRecipe.load(path).source
    chosen = before.model_copy(update={"ridge": 7.0})
    after = write_source(path, chosen)
    assert after.source == chosen
    assert "2.0" in path.read_text()
    with pytest.raises(RecipeError, match=r"source.privacy\] is no table of kind 'popular'"):
        write_source(path, Popular())
    assert ShopRecipe.load(path).source == chosen


def test_every_option_of_privacy_is_written_down() -> None:
    """Spent's fields are the array's: a new one has to be put there, too."""
    spent = Privacy().spend(100)
    assert len(spent.array()) == len(fields(spent))


def test_options_are_documented_with_their_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipe.md").read_text("utf-8")
    section = page.split("## `[source.privacy]`")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", section, flags=re.MULTILINE))
    defaults = {n: "none" if v is None else str(v) for n, v in Privacy().model_dump().items()}
    assert told == defaults

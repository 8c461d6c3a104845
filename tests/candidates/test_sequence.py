"""The transformer over events: the same in numpy and PyTorch, honest about order and newness."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.worlds import QUICK, crowd, shop, words_of

from tailrec.candidates.sequence import Sequential, SequentialModel
from tailrec.candidates.sequence_fit import Held, network, parts_of
from tailrec.candidates.sequence_lessons import Drawing, NextItem, Pasts
from tailrec.candidates.sequence_net import Block, Shape
from tailrec.candidates.transformer import classes, contextual
from tailrec.dataset import DAY_US, Dataset, Features
from tailrec.errors import RecipeError
from tailrec.ranking.attention import Attention
from tailrec.ranking.ctr import NeuralCtr
from tailrec.training.recipes import Distil, Pretrain

SMALL = Sequential(width=8, blocks=1, course=QUICK)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """A crowd, the same for every test."""
    return crowd(np.random.default_rng(5))


def fitted(recipe: Sequential, data: Dataset, features: Features | None = None) -> SequentialModel:
    """The recipe's model, always from the same seed."""
    return recipe.fit(data, features or words_of(data), rng=np.random.default_rng(3))


def chains(n_users: int) -> Dataset:
    """People who go on from item n to n + 1 of ten, beginning anywhere."""
    firsts = np.random.default_rng(0).integers(5, size=n_users)
    return shop([list(range(first, first + 6)) for first in firsts], ["thing"] * 10)


def test_numpy_says_what_pytorch_says() -> None:
    torch.manual_seed(0)
    block = Block(Shape(16, 1, 4, 0.3)).eval()
    torch.nn.init.normal_(block.bias)
    vectors = torch.randn(3, 5, 16)
    step = np.array([[0, 0, 1, 2, -1], [0, 1, 2, 3, 4], [0, 0, 0, -1, -1]], np.int32)
    day = np.array([[0, 0, 3, 40, 0], [0, 1, 2, 400, 401], [7, 7, 7, 0, 0]], np.float32)
    between, seen = classes(step, day)
    with torch.no_grad():
        torchs = block(vectors, torch.as_tensor(between.astype(np.int64)), torch.as_tensor(seen))
    parameters = {name: value.numpy() for name, value in block.state_dict().items()}
    own = contextual(vectors.numpy(), between, seen, [parameters], heads=4)
    np.testing.assert_allclose(own[step >= 0], torchs.numpy()[step >= 0], atol=1e-5)


def test_an_event_sees_its_step_and_those_before() -> None:
    between, seen = classes(np.array([[0, 0, 1, -1]], np.int32), np.zeros((1, 4), np.float32))
    np.testing.assert_array_equal(seen[0], [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
    assert between[0, 2, 0] != between[0, 2, 2]


def test_the_order_within_a_basket_means_nothing() -> None:
    data = crowd(np.random.default_rng(5))
    one_step = replace(data, step=np.zeros(len(data.item), np.int32))
    model = fitted(SMALL, data)
    queries = one_step.queries()
    turned = replace(queries, item=queries.item.copy())
    for row in range(len(queries)):
        own = slice(queries.ptr[row], queries.ptr[row + 1])
        # Days belong to events; with one instant nothing but the items changes places.
        turned.item[own] = queries.item[own][::-1]
    same_day = replace(queries, days=np.zeros_like(queries.days))
    turned = replace(turned, days=np.zeros_like(queries.days))
    np.testing.assert_allclose(model.people(same_day), model.people(turned), atol=1e-4)


def test_what_comes_next_is_proposed_and_not_what_came_before() -> None:
    data = chains(200)
    course = QUICK.model_copy(update={"steps": 150})
    recipe = Sequential(width=16, blocks=1, ahead=0, own=1, left_out=0, dropout=0, course=course)
    model = fitted(recipe, data)
    cut = data.keep(data.step < 3)
    asked = cut.queries(include_seen=True)
    first = model.candidates(asked, 1).ids[:, 0]
    latest = cut.item[cut.ptr[1:] - 1]
    assert (first == latest + 1).mean() > 0.9


def test_an_item_that_nobody_had_is_where_its_words_are(data: Dataset) -> None:
    features = words_of(data)
    model = fitted(SMALL, data, features)
    some = [3, 4]
    later = model.extended(features.rows(some))
    text = features.dense @ model.parts["map"] + features.words @ model.parts["words"]
    np.testing.assert_allclose(later.parts["items"][-2:], text[some], atol=1e-5)
    cold = data.item_counts == 0
    np.testing.assert_allclose(model.parts["items"][cold], text[cold], atol=1e-5)
    own = np.linalg.norm(model.parts["items"] - text, axis=1)
    assert own[~cold].min() > 0
    found = later.candidates(data.queries(), len(later.parts["items"])).ids
    assert np.isin([data.n_items, data.n_items + 1], found).all()


def test_only_what_came_later_is_foretold() -> None:
    baskets = crowd(np.random.default_rng(2))
    data = replace(baskets, step=baskets.step // 2)
    pasts, rng = Pasts(data, 4), np.random.default_rng(0)
    seen = np.zeros(data.n_events, bool)
    for _ in range(1500):
        events = pasts.draw(12, rng)
        flat = events[events >= 0]
        later = pasts.later(flat, 0.5, rng)
        np.testing.assert_array_equal(data.user[later], data.user[flat])
        assert (data.step[later] > data.step[flat]).all()
        assert (np.diff(events, axis=1)[events[:, 1:] >= 0] == 1).all()
        assert events.shape[1] <= 4
        seen[later] = True
    first = data.step == data.step[data.ptr[data.user]]
    np.testing.assert_array_equal(seen, ~first)


def baskets_of_pairs(n_users: int) -> Dataset:
    """Baskets of item n and item n + 10, one after the other in no order."""
    rng = np.random.default_rng(0)
    pairs = [rng.permutation(10)[:4] for _ in range(n_users)]
    histories = [[int(item) for n in own for item in (n, n + 10)] for own in pairs]
    data = shop(histories, ["thing"] * 20)
    step = data.step // 2
    return replace(data, step=step, time=step.astype(np.int64) * DAY_US)


def test_a_basket_taken_apart_keeps_its_items_and_its_place() -> None:
    data = baskets_of_pairs(40)
    apart = Pasts(data, 4).apart(np.random.default_rng(1)).data
    assert apart.begins.all()
    np.testing.assert_array_equal(apart.ptr, data.ptr)
    both = [np.sort(one.item.reshape(-1, 2), axis=1) for one in (data, apart)]
    np.testing.assert_array_equal(*both)
    np.testing.assert_array_equal(apart.time, data.time)
    # The order within is drawn.
    first = apart.item.reshape(-1, 2)[:, 0] >= 10
    assert 0.3 < first.mean() < 0.7


def test_what_goes_into_a_basket_together_is_learnt_from_baskets_taken_apart() -> None:
    data = baskets_of_pairs(300)
    course = QUICK.model_copy(update={"steps": 150})
    found = {}
    for within in (0.0, 0.8):
        recipe = Sequential(width=16, blocks=1, own=1, left_out=0, within=within, course=course)
        model = fitted(recipe, data)
        # Half of a basket is there.
        cut = data.keep((data.step < 3) & ~((data.step == 2) & (data.item >= 10)))
        asked = cut.queries()
        latest = cut.item[cut.ptr[1:] - 1]
        found[within] = (model.candidates(asked, 1).ids[:, 0] == latest + 10).mean()
    assert found[0.8] > 0.8 > found[0.0] + 0.3


def test_what_is_held_out_is_not_learnt_from() -> None:
    data = crowd(np.random.default_rng(5), n_users=900)
    held = Held.of(data, 60, np.random.default_rng(0))
    users = np.flatnonzero(np.diff(held.known.ptr) < np.diff(data.ptr))
    assert 0 < len(users) == len(held.queries)
    for row, user in enumerate(users):
        own = slice(data.ptr[user], data.ptr[user + 1])
        last = data.item[own][data.step[own] == data.step[own].max()]
        np.testing.assert_array_equal(held.target[held.ptr[row] : held.ptr[row + 1]], last)
        assert held.known.step[held.known.user == user].max() < data.step[own].max()
    assert len(Held.of(data, 40, np.random.default_rng(0)).queries) == 0


def test_drawn_others_stand_for_all(data: Dataset) -> None:
    """Sampled softmax estimates the loss over the whole catalogue: less is left with more."""
    features = words_of(data)
    net = network(Shape(8, 1, 2, 0.0), features, data.item_counts, 5.0, 0)

    def loss(negatives: int, seed: int) -> float:
        drawing = Drawing(64, negatives, 0.0, 0.0, 0.0, 0.0)
        task = NextItem(net, Pasts(data, 9), features, drawing, dict)
        with torch.no_grad():
            return float(task.loss(task.batch(0, np.random.default_rng(seed))))

    whole = np.mean([loss(data.n_items, seed) for seed in range(40)])
    many = np.mean([loss(data.n_items - 1, seed) for seed in range(40)])
    assert many == pytest.approx(whole, rel=0.05)


def test_adjusting_takes_popularity_out() -> None:
    rng = np.random.default_rng(0)
    popular = shop(
        [[0, *rng.choice(np.arange(1, 12), 3, False), 0][:4] for _ in range(120)],
        [f"word{n}" for n in range(12)],
    )
    plain, adjusted = (
        fitted(SMALL.model_copy(update={"adjust": adjust}), popular) for adjust in (0.0, 1.0)
    )
    nobody = popular.queries(np.arange(20, dtype=np.int32), include_seen=True)
    share = [float((model.candidates(nobody, 3).ids == 0).mean()) for model in (plain, adjusted)]
    assert share[1] <= share[0]


def test_a_network_goes_on_from_its_parts(data: Dataset) -> None:
    features, shape = words_of(data), Shape(8, 1, 2, 0.0)
    net = network(shape, features, data.item_counts, 5.0, 0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand(parameter.shape))
    parts = parts_of(net, features)
    assert parts["items"].shape == (data.n_items, 8)
    other = network(shape, features, data.item_counts, 5.0, 1)
    placed = np.arange(data.n_items, dtype=np.int32)
    placed[3] = -1
    other.go_on(parts, placed)
    again = parts_of(other, features)
    known = placed >= 0
    np.testing.assert_array_equal(again["items"][known], parts["items"][known])
    assert (again["own"][3] == 0).all()
    for name in parts.keys() - {"items", "own"}:
        np.testing.assert_array_equal(again[name], parts[name])


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(RecipeError, match="width 10 is no multiple of heads 4"):
        Sequential.parse({"width": 10, "heads": 4})


@pytest.mark.parametrize("option", [{"adversarial": 0.1}, {"checkpointing": True}])
def test_what_only_encoders_can_do_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="are for encoders"):
        Sequential.parse({"course": option})


def test_a_seed_of_its_own_gives_another_model(data: Dataset) -> None:
    other = SMALL.model_copy(update={"course": QUICK.model_copy(update={"seed": 1})})
    one, two = (fitted(recipe, data).parts["items"] for recipe in (SMALL, other))
    assert not np.allclose(one, two)


def test_where_nobody_comes_back_baskets_teach() -> None:
    pairs = baskets_of_pairs(200)
    once = replace(pairs, step=np.zeros_like(pairs.step))
    recipe = Sequential(width=16, blocks=1, own=1, left_out=0, course=QUICK)
    fitted_once, apart = (
        fitted(recipe.model_copy(update={"within": within}), once) for within in (0.0, 1.0)
    )
    assert (fitted_once.parts["own"] == 0).all()
    assert np.abs(apart.parts["own"]).sum() > 0


@pytest.mark.parametrize(
    "recipe", [Sequential(), Attention(), NeuralCtr(), Distil(), Pretrain()], ids=lambda r: type(r)
)
def test_a_course_told_in_part_keeps_the_rest(recipe: Any) -> None:
    told = type(recipe).parse({"course": {"seed": 7}})
    assert told.course == recipe.course.model_copy(update={"seed": 7})

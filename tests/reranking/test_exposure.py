import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tailrec.errors import DataError, RecipeError
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals

PAGE = Path(__file__).parents[2] / "docs" / "exposure.md"

SHOP = pl.DataFrame(
    {
        "item_id": ["A", "B", "C", "D", "E", "F"],
        "brand": ["x", "x ", "y", "y", None, "z"],
        "category": ["M > L", "M > E", "N", "N", "N", "N"],
        "tier": ["head", "tail", "tail", "cold", "middle", "tail"],
        "attributes": ['{"colour": "red"}', None, None, None, None, None],
    }
)
A, B, C, D, E, F = range(6)
FOR_SALE = np.array([True, True, True, True, True, False])


def goals(*given: dict[str, Any], table: pl.DataFrame = SHOP) -> CompiledGoals:
    return Exposure.parse({"goals": given}).compiled(table, FOR_SALE[: len(table)])


def members(compiled: CompiledGoals) -> dict[str, list[int]]:
    return {
        name: compiled.item[compiled.goal == one].tolist()
        for one, name in enumerate(compiled.names)
    }


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([{"floor": 0.3, "cap": 0.2}], "'all items' has floor 0.3 above its cap 0.2"),
        ([{"tier": ["tail"]}], "'tier tail' has neither floor nor cap"),
        ([{"floor": 1.1}], "asks for 1.1 of all exposure; 1 is all"),
        ([{"floor": -0.1}], "greater than 0"),
        ([{"floor": 0.0}], "greater than 0"),
        ([{"cap": -0.1}], "greater than or equal to 0"),
        ([{"cap": float("nan")}], "finite"),
        ([{"tier": ["tale"], "floor": 0.1}], "'head', 'middle', 'tail' or 'cold'"),
        ([{"each": "colour", "floor": 0.1}], "each is 'colour'; there are item_id, title, brand"),
        ([{"filter": {"prise": 1}, "floor": 0.1}], "did you mean 'price'"),
        (
            [{"items": ["A"], "tier": ["tail"], "floor": 0.1}],
            "a filter, items or tiers; items, tier given",
        ),
        (
            [{"tier": ["tail"], "floor": 0.1}, {"tier": ["tail"], "cap": 0.9}],
            "two goals are called 'tier tail'",
        ),
        (
            [{"tier": ["tail"], "floor": 0.6}, {"tier": ["head", "middle"], "floor": 0.5}],
            "the floors of goals 'tier tail', 'tier head, middle' add up to 1.1; all exposure is 1",
        ),
        (
            [
                {"tier": ["tail", "cold"], "cap": 0.5},
                {"tier": ["tail"], "floor": 0.3},
                {"tier": ["cold"], "floor": 0.3},
            ],
            "add up to 0.6; the cap of 'tier tail, cold' is 0.5",
        ),
        (
            [{"each": "item_id", "floor": 1.5, "unit": "even"}],
            "not every item can get 1.5 times even",
        ),
        ([{"floor": 0.1, "unit": "shares"}], "'share', 'even' or 'budget'"),
    ],
)
def test_goals_that_contradict_each_other_are_refused(
    given: list[dict[str, Any]], fault: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(fault)):
        Exposure.parse({"goals": given})


@pytest.mark.parametrize(
    "given",
    [
        [{"tier": ["tail"], "floor": 0.7}, {"tier": ["head"], "floor": 0.3}],
        [{"tier": ["tail"], "floor": 0.6}, {"tier": ["tail", "cold"], "floor": 0.6}],
        [{"tier": ["tail"], "floor": 6, "unit": "budget"}, {"tier": ["head"], "floor": 0.9}],
        [{"floor": 0.2, "cap": 0.2}],
    ],
)
def test_goals_that_only_look_too_much_are_taken(given: list[dict[str, Any]]) -> None:
    assert len(Exposure.parse({"goals": given}).goals) == len(given)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([{"filter": {"brand": "q"}, "floor": 0.1}], "\"brand is 'q'\" is about no item"),
        ([{"items": ["Q"], "floor": 0.1}], "'items Q' is about no item"),
        ([{"each": "seller_id", "floor": 0.1}], "no item has a value of 'seller_id'"),
        ([{"each": "brand", "floor": 0.6}], "'each brand of all items' add up to 1.2"),
        (
            [{"each": "brand", "floor": 1.4, "unit": "even"}, {"items": ["E"], "floor": 0.1}],
            "'each brand of all items', 'items E' add up to 1.22",
        ),
        (
            [{"each": "item_id", "floor": 0.9, "unit": "even"}, {"tier": ["tail"], "cap": 0.3}],
            "add up to 0.36 of all exposure inside goal 'tier tail', whose cap is 0.3",
        ),
        (
            [{"each": "item_id", "cap": 0.9, "unit": "even"}],
            "is about all items and its caps add up to 0.9",
        ),
    ],
)
def test_goals_no_slates_of_the_catalogue_can_meet_are_refused(
    given: list[dict[str, Any]], fault: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(fault)):
        goals(*given)


def test_items_of_goals() -> None:
    found = members(
        goals(
            {"tier": ["tail"], "floor": 0.1},
            {"name": "brands", "each": "brand", "floor": 0.1},
            {"each": "category/1", "tier": ["tail"], "cap": 0.9},
            {"name": "one", "each": "item_id", "items": ["C", "F", "Q"], "cap": 1.0},
            {"name": "red", "filter": {"attributes.colour": "red"}, "cap": 0.5},
        )
    )
    assert found == {
        "tier tail": [B, C, F],
        "brands: x": [A, B],
        "brands: y": [C, D],
        # Nothing of brand z is for sale.
        "each category/1 of tier tail: M": [B],
        "each category/1 of tier tail: N": [C, F],
        "one: C": [C],
        "red": [A],
    }


def test_limits_in_all_units() -> None:
    compiled = goals(
        {"name": "brands", "each": "brand", "floor": 0.5, "cap": 2.0, "unit": "even"},
        {"tier": ["tail"], "floor": 0.25},
        {"items": ["A"], "cap": 30, "unit": "budget"},
    )
    # Two of the five items for sale are of each brand: an even share is 0.4.
    np.testing.assert_allclose(compiled.least(100.0, 2.0), [20, 20, 25, 0])
    np.testing.assert_allclose(compiled.most(100.0, 2.0), [80, 80, np.inf, 60])


def test_a_tier_or_catalogue_without_items_has_no_goals() -> None:
    assert len(goals({"tier": ["cold"], "floor": 0.9}, table=SHOP[:2])) == 0
    assert len(goals({"filter": {"brand": "x"}, "floor": 0.9}, table=SHOP[:0])) == 0
    none = goals()
    assert none.given(np.ones(6)).shape == (0,)
    assert none.item_prices(np.zeros(0)).tolist() == [0] * 6


def test_what_goals_got_and_what_items_are_worth() -> None:
    compiled = goals({"tier": ["tail"], "floor": 0.1}, {"name": "b", "each": "brand", "floor": 0.1})
    assert compiled.given(np.array([1.0, 2, 4, 8, 16, 32])).tolist() == [38, 3, 12]
    prices = compiled.item_prices(np.array([0.5, 0.25, -1.0]))
    assert prices.tolist() == [0.25, 0.75, -0.5, -1.0, 0, 0.5]


def test_sizes_that_do_not_fit() -> None:
    compiled = goals({"floor": 1.0})
    with pytest.raises(DataError, match="exposure is of 5 items; the goals of 6"):
        compiled.given(np.ones(5))
    with pytest.raises(DataError, match="2 prices were given for 1 goals"):
        compiled.item_prices(np.ones(2))
    with pytest.raises(DataError, match="for_sale is of 2 items; the table has 6"):
        Exposure().compiled(SHOP, FOR_SALE[:2])


def test_a_recipe_goes_through_toml() -> None:
    recipe = Exposure.parse(
        {
            "cost": 0.02,
            "goals": [
                {"tier": ["tail"], "floor": 0.3},
                {"filter": {"brand": "x"}, "each": "item_id", "cap": 3, "unit": "even"},
            ],
        }
    )
    assert Exposure.parse(tomllib.loads(recipe.toml())) == recipe


def test_the_page_shows_a_recipe_and_the_defaults() -> None:
    page = PAGE.read_text("utf-8")
    shown = re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    tables = [tomllib.loads(text) for text in shown]
    recipes = [Exposure.parse(told["exposure"]) for told in tables if "exposure" in told]
    assert [goal.label for goal in recipes[0].goals] == ["tier tail", "items"]
    for name, default in (("cost", Exposure().cost), ("window_days", Exposure().window_days)):
        assert f"| `{name}` | `{default}` |" in page

"""Cleaning: each rule touches what it should and nothing else, and the counts add up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.data.clean import REASON, RULE, RULES, Cleaned, clean
from tailrec.data.cleaning import RULE_ORDER, Cleaning, CleaningReport, RuleReport
from tailrec.data.coerce import BAD
from tailrec.data.jsonlines import ROW
from tailrec.data.rules import SOURCE
from tailrec.data.texts import repair
from tailrec.errors import RecipeError

START = datetime(2011, 1, 1, tzinfo=UTC)


def _events(n: int = 1, **columns: object) -> pl.DataFrame:
    """Purchases that no rule objects to, with some columns replaced."""
    base: dict[str, object] = {
        ROW: list(range(2, n + 2)),
        SOURCE: [0] * n,
        "user_id": [f"u{row}" for row in range(n)],
        "item_id": ["i1"] * n,
        "type": ["purchase"] * n,
        "timestamp": [START + timedelta(days=day) for day in range(n)],
    }
    return pl.DataFrame({**base, **columns}).cast({ROW: pl.Int64, SOURCE: pl.Int32})


def _items(**columns: list[object]) -> pl.DataFrame:
    n = len(columns["item_id"])
    frame = pl.DataFrame({ROW: range(2, n + 2), SOURCE: [0] * n, **columns})
    return frame.cast({ROW: pl.Int64, SOURCE: pl.Int32})


def _reasons(cleaned: Cleaned) -> dict[int, str]:
    return dict(cleaned.rejected.select(ROW, REASON).iter_rows())


def test_a_clean_file_passes_as_it_is() -> None:
    frame = _events(3, quantity=[1.0, 2.0, 3.0], price=[1.0, 1.0, 1.0], title=["A", "A", "A"])
    cleaned = clean("events", frame, Cleaning())
    assert cleaned.kept.equals(frame)
    assert cleaned.rejected.is_empty()
    assert (cleaned.report.rows, cleaned.report.kept, cleaned.report.changed) == (3, 3, 0)


def test_every_rule_is_in_the_order_and_can_be_left_out() -> None:
    assert set(RULES) == set(RULE_ORDER)
    frame = _events(2, user_id=["u", None])
    assert clean("events", frame, Cleaning()).report.rejected == 1
    without = clean("events", frame, Cleaning().without("users"))
    assert without.report.rejected == 0
    assert "users" not in [rule.name for rule in without.report.rules]


def test_only_repeats_of_the_whole_row_are_duplicates() -> None:
    frame = _events(3, user_id=["u"] * 3, timestamp=[START] * 3, value=[1.0, 1.0, 2.0])
    assert _reasons(clean("events", frame, Cleaning())) == {3: "repeats an earlier row exactly"}


def test_ids_are_tidied_or_refused() -> None:
    frame = _events(6, user_id=[" u ", "17850.0", "NaN", "", None, "x" * 201])
    cleaned = clean("events", frame, Cleaning())
    assert cleaned.kept["user_id"].to_list() == ["u", "17850"]
    assert _reasons(cleaned) == {
        4: "user_id 'NaN' names nothing",
        5: "user_id '' names nothing",
        6: "user_id is missing",
        7: "user_id is over 200 characters",
    }
    kept = clean("events", frame[1:2], Cleaning(decimal_ids=False)).kept
    assert kept["user_id"].to_list() == ["17850.0"]


def test_item_ids_differ_by_case_unless_told_otherwise() -> None:
    frame = _events(2, item_id=["85123a", "85123A"])
    assert clean("events", frame, Cleaning()).kept["item_id"].n_unique() == 2
    assert clean("events", frame, Cleaning(upper_items=True)).kept["item_id"].n_unique() == 1


def test_types_are_translated_or_refused() -> None:
    frame = _events(3, type=["Buy", "PLAY", "sneeze"])
    cleaned = clean("events", frame, Cleaning())
    assert cleaned.kept["type"].to_list() == ["purchase", "play"]
    assert _reasons(cleaned) == {4: "type 'sneeze' is unknown"}


def test_times_that_cannot_be_are_refused() -> None:
    moments = [
        START,
        datetime(1969, 1, 1, tzinfo=UTC),
        datetime(2031, 1, 1, tzinfo=UTC),
        None,
        None,
    ]
    frame = _events(5, timestamp=moments).with_columns(
        pl.Series(BAD + "timestamp", [None, None, None, "soon", None])
    )
    cleaned = clean("events", frame, Cleaning(asof=datetime(2020, 1, 1, tzinfo=UTC)))
    assert len(cleaned.kept) == 1
    assert _reasons(cleaned) == {
        3: "timestamp 1969-01-01 00:00:00 is before 1970-01-01",
        4: "timestamp 2031-01-01 00:00:00 is after 2020-01-01 00:00",
        5: "timestamp 'soon' cannot be read",
        6: "timestamp is missing",
    }


def test_codes_that_are_no_products_are_refused_but_for_exceptions() -> None:
    frame = _events(4, item_id=["POST", "gift_0001_20", "BAG", "85123A"])
    options = Cleaning(no_product=(r"\D+", r"gift_\d+_\d+"), product=("BAG",))
    cleaned = clean("events", frame, options)
    assert cleaned.kept["item_id"].to_list() == ["BAG", "85123A"]
    assert _reasons(cleaned)[2] == "'POST' is no product"


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("crÃ¨me  brÃ»lÃ©e", "crème brûlée"),
        ("Cup &amp; saucer", "Cup & saucer"),
        ("<b>Big</b><br/>bag", "Big bag"),
        ("&lt;b&gt;Big&lt;/b&gt; bag", "Big bag"),
        ("<style>p {}</style>Hat", "Hat"),
        ("tab\tand\x07bell", "tab andbell"),
        ("size < 5 > 3", "size < 5 > 3"),
        ("“Zoë’s” – 5 µm", "“Zoë’s” – 5 µm"),
        ("护手霜，50克", "护手霜，50克"),
    ],
)
def test_text_is_repaired_and_good_text_is_left_alone(broken: str, whole: str) -> None:
    assert repair(broken) == whole
    cleaned = clean("items", _items(item_id=["1"], title=[broken]), Cleaning())
    assert cleaned.kept["title"].to_list() == [whole]
    assert cleaned.report.changed == (broken != whole)


def test_an_item_has_the_title_it_has_most_often_and_no_note() -> None:
    words = ["MUG", "MUG", "mug, big", "mug, big", "mug, big", "damaged?"]
    frame = _events(6, title=words)
    assert set(clean("events", frame, Cleaning()).kept["title"]) == {"mug, big"}
    capitals = Cleaning(upper_titles=True)
    assert set(clean("events", frame, capitals).kept["title"]) == {"MUG"}
    notes = clean("events", frame[5:], Cleaning(notes=(r"\?",)))
    assert notes.kept["title"].to_list() == [None]


def test_an_item_without_a_title_takes_its_other_words() -> None:
    frame = _items(
        item_id=["1", "2", "3"],
        title=[None, None, None],
        description=["Soft", None, None],
        brand=["B", "B", None],
        category=["A > C", "A > C", None],
    ).cast({"title": pl.String})
    cleaned = clean("items", frame, Cleaning())
    assert cleaned.kept["title"].to_list() == ["Soft", "B C"]
    assert _reasons(cleaned) == {4: "the item has no text"}


def test_prices_of_purchases_must_be_possible() -> None:
    frame = _events(
        6, price=[1.0, 0.0, None, 2e6, 1.0, 1.0], quantity=[1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    ).with_columns(pl.Series(BAD + "quantity", [None] * 5 + ["many"]))
    cleaned = clean("events", frame, Cleaning())
    assert cleaned.kept[ROW].to_list() == [2]
    assert _reasons(cleaned) == {
        3: "price 0.0 is not above 0",
        4: "price is missing",
        5: "price 2000000.0 is absurd",
        6: "quantity is 0",
        7: "quantity 'many' is no number",
    }
    viewed = frame.with_columns(type=pl.lit("view"), price=pl.lit(None, pl.Float64))[:1]
    assert len(clean("events", viewed, Cleaning()).kept) == 1


def test_impossible_prices_of_items_are_emptied() -> None:
    frame = _items(item_id=["1", "2", "3"], title=["A", "B", "C"], price=[5.0, -1.0, None])
    frame = frame.with_columns(pl.Series(BAD + "price", [None, None, "dear"]))
    cleaned = clean("items", frame, Cleaning())
    assert cleaned.kept["price"].to_list() == [5.0, None, None]
    assert cleaned.report.changed == 2
    assert [c for c in cleaned.kept.columns if c.startswith(BAD)] == []


def test_one_row_an_item_the_fullest() -> None:
    frame = _items(item_id=["1", "1", "1"], title=["A"] * 3, price=[None, 5.0, 6.0])
    cleaned = clean("items", frame, Cleaning())
    assert cleaned.kept["price"].to_list() == [5.0]
    assert set(_reasons(cleaned)) == {2, 4}


def _dozens(**last: object) -> pl.DataFrame:
    """Forty orders of about a dozen, then one of ten thousand."""
    quantity = [*(float(10 + n % 5) for n in range(40)), 10_000.0]
    return _events(41, quantity=quantity, price=[2.0] * 41, value=[2 * q for q in quantity], **last)


def test_outlier_quantities_are_capped_with_their_value_or_refused() -> None:
    capped = clean("events", _dozens(), Cleaning(quantity_floor=50)).kept
    limit = capped["quantity"][40]
    # median 12, spread at least .5 on the logarithm: 12 · exp(6 · .5) = 241
    assert limit == 241
    assert capped["value"][40] == 2 * limit
    assert capped["quantity"][:40].equals(_dozens()["quantity"][:40])
    refused = clean("events", _dozens(), Cleaning(outliers="reject"))
    assert _reasons(refused) == {42: "quantity 10000.0 is over 241.0"}
    assert clean("events", _dozens(), Cleaning(quantity_floor=10_000)).report.changed == 0


def test_a_value_stated_by_the_file_is_not_scaled() -> None:
    fuel = _dozens().with_columns(value=pl.lit(30.0))
    assert clean("events", fuel, Cleaning()).kept.equals(fuel)


def _user(name: str, moments: list[datetime]) -> pl.DataFrame:
    n = len(moments)
    items = [f"i{number}" for number in range(n)]
    return _events(n, user_id=[name] * n, item_id=items, timestamp=moments, type=["view"] * n)


def test_bots_are_refused_and_busy_people_are_not() -> None:
    rng = np.random.default_rng(3)
    human = _user("human", [START + timedelta(seconds=float(s)) for s in rng.uniform(0, 9e5, 900)])
    daily = _user("daily", [START + timedelta(days=day) for day in range(300)])
    clock = _user("clock", [START + timedelta(seconds=30 * n) for n in range(300)])
    flood = _user("flood", [START + timedelta(seconds=float(s)) for s in rng.uniform(0, 8e4, 2500)])
    cleaned = clean("events", pl.concat([human, daily, clock, flood]), Cleaning())
    assert set(cleaned.kept["user_id"]) == {"human", "daily"}
    assert set(cleaned.rejected[REASON].unique()) == {
        "user 'clock' acts like clockwork, every 30.0 s",
        "user 'flood' has 2500 events on one day",
    }


def test_made_up_times_make_nobody_a_bot() -> None:
    assert clean("events", _user("u", [START] * 3000), Cleaning()).report.rejected == 0


def test_reports_refuse_counts_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        CleaningReport("events", 3, 1, 0, (RuleReport("users", rejected=1),))
    one = CleaningReport("events", 2, 1, 1, (RuleReport("users", 1, 0, ("a",)),))
    both = one.plus(one)
    assert (both.rows, both.kept, both.rejected, both.changed) == (4, 2, 2, 2)
    assert both.rules[0].examples == ("a", "a")
    assert both.to_dict()["rejected"] == 2
    assert both.table_rows()[-1][3] == "4 rows = 2 kept + 2 rejected"


def test_options_are_checked() -> None:
    for wrong in ({"rules": ["bots", "bots"]}, {"rules": ["x"]}, {"event_types": {"a": "b"}}):
        with pytest.raises(RecipeError):
            Cleaning.parse(wrong)
    stated = Cleaning.parse(Cleaning().model_dump())
    assert stated.over(Cleaning(cancel_prefix="C")) == Cleaning(cancel_prefix="C")
    merged = Cleaning(bot_daily=5).over(Cleaning(max_price=7, bot_daily=6))
    assert (merged.bot_daily, merged.max_price) == (5, 7)


_IDS = st.sampled_from(["u1", "u2", "7.0", "", None, " u1"])
_NUMBERS = st.sampled_from([-3.0, 0.0, 1.0, 2.0, 5000.0, None])
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": _IDS,
            "item_id": st.sampled_from(["i1", "i2", "POST", None]),
            "type": st.sampled_from(["purchase", "view", "??", None]),
            "timestamp": st.sampled_from([None, *(START + timedelta(days=d) for d in range(3))]),
            "session_id": st.sampled_from(["1", "C1", None]),
            "title": st.sampled_from(["Mug", " Mug", "?", None]),
            "quantity": _NUMBERS,
            "price": _NUMBERS,
        }
    ),
    max_size=30,
)
_TYPES: dict[str, type[pl.DataType] | pl.DataType] = {
    "timestamp": pl.Datetime("us", "UTC"),
    "quantity": pl.Float64,
    "price": pl.Float64,
}


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    names = ("user_id", "item_id", "type", "timestamp", "session_id", "title", "quantity", "price")
    frame = pl.DataFrame(rows, schema={name: _TYPES.get(name, pl.String) for name in names})
    marked = frame.with_row_index(ROW, offset=2).cast({ROW: pl.Int64})
    value = pl.col("quantity") * pl.col("price")
    return marked.with_columns(value.alias("value"), pl.lit(0, pl.Int32).alias(SOURCE))


_STRICT: Callable[[], Cleaning] = lambda: Cleaning(  # noqa: E731
    no_product=("POST",), notes=(r"\?",), cancel_prefix="C", quantity_floor=1, bot_daily=3
)


@settings(deadline=None, max_examples=40)
@given(_ROWS, st.permutations(RULE_ORDER), st.integers(0, len(RULE_ORDER)))
def test_every_row_is_kept_or_refused_once_whatever_the_rules(
    rows: list[dict[str, object]], order: list[str], n_rules: int
) -> None:
    frame = _frame(rows)
    options = Cleaning.parse({**_STRICT().model_dump(), "rules": order[:n_rules]})
    cleaned = clean("events", frame, options)
    both = [*cleaned.kept[ROW].to_list(), *cleaned.rejected[ROW].to_list()]
    assert sorted(both) == frame[ROW].to_list()
    assert cleaned.kept[ROW].is_sorted()
    assert cleaned.rejected[REASON].null_count() == 0
    counted = {rule.name: rule.rejected for rule in cleaned.report.rules if rule.rejected}
    assert counted == dict(cleaned.rejected.group_by(RULE).len().iter_rows())
    assert cleaned.report.rows == len(frame) == cleaned.report.kept + cleaned.report.rejected
    untouched = frame.join(cleaned.kept, on=cleaned.kept.columns, how="semi", nulls_equal=True)
    assert len(untouched) >= cleaned.report.kept - cleaned.report.changed

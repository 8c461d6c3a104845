"""Ingest: all of a good file lands once, and a bad one changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrec.data.cleaning import Cleaning
from tailrec.data.ingest import ingest
from tailrec.data.mapping import parse_pairs
from tailrec.data.store import Store
from tailrec.errors import DataError, SchemaError

HEADER = "user_id,item_id,type,timestamp\n"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db", create=True) as store:
        yield store


def _file(folder: Path, text: str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def _views(n: int, user: str = "u") -> str:
    return HEADER + "".join(f"{user}{r % 7},i{r % 11},view,{1300000000 + r}\n" for r in range(n))


def test_a_file_lands_once(tmp_path: Path, shop: Store) -> None:
    path = _file(tmp_path, _views(50))
    assert ingest(shop, "events", [path]).new_rows == {"events": 50}
    assert ingest(shop, "events", [path]).new_rows == {"events": 0}
    assert shop.count("events") == 50


def test_a_longer_file_adds_only_its_new_lines(tmp_path: Path, shop: Store) -> None:
    """Though it cancels, and caps, what the shorter one left whole."""
    head = "user_id,item_id,timestamp,quantity,price\n"
    many = "".join(f"v{n},i,2011-01-01,10,1\n" for n in range(30))
    start = head + "u,i,2011-01-02,900,1\nu,j,2011-01-02,4,1\n"
    more = start + many + "u,j,2011-01-03,-1,1\n"
    fill = {"type": "purchase"}
    ingest(shop, "events", [_file(tmp_path, start)], fill=fill)
    done = ingest(shop, "events", [_file(tmp_path, more)], fill=fill)
    assert done.reports["events"].changed == 2
    assert done.new_rows == {"events": 30}


def test_mapping_fill_and_several_files(tmp_path: Path, shop: Store) -> None:
    first = _file(tmp_path, "who;what\nu;i\n", "a.csv")
    second = _file(tmp_path, "who,what\nu,i\nv,j\n", "b.csv")
    mapping = parse_pairs("user_id=who,item_id=what")
    fill = {"timestamp": "2011-01-01", "type": "play"}
    done = ingest(shop, "events", [first, second], mapping=mapping, fill=fill)
    # u's play of i stands in both files: one event
    assert done.reports["events"].rows == 3
    assert shop.read("events", columns=["user_id", "item_id", "type"]).rows() == [
        ("u", "i", "play"),
        ("v", "j", "play"),
    ]


def test_a_dry_run_reports_and_writes_nothing(tmp_path: Path, shop: Store) -> None:
    path = _file(tmp_path, _views(20) + ",i,view,1300000000\n")
    refused = tmp_path / "refused.parquet"
    dry = ingest(shop, "events", [path], dry_run=True, rejected=refused)
    assert shop.count("events") == 0
    assert not refused.exists()
    wet = ingest(shop, "events", [path], rejected=refused)
    assert dry.reports == wet.reports
    assert dry.new_rows == wet.new_rows == {"events": 20}
    assert json.loads(json.dumps(wet.to_dict()))["reports"]["events"]["rejected"] == 1


@pytest.mark.parametrize("name", ["refused.csv", "refused.parquet"])
def test_rejected_rows_go_to_a_file_with_their_reasons(
    tmp_path: Path, shop: Store, name: str
) -> None:
    good = _file(tmp_path, _views(3), "good.csv")
    bad = _file(tmp_path, _views(2, "w") + ",i,view,1300000000\nu,i,dance,5\n", "bad.csv")
    target = tmp_path / "deep" / name
    ingest(shop, "events", [good, bad], rejected=target)
    rows = pl.read_csv(target) if name.endswith("csv") else pl.read_parquet(target)
    told = rows.select("file", "row", "rule", "reason").rows()
    assert sorted(told) == [
        (str(bad), 4, "users", "user_id is missing"),
        (str(bad), 5, "types", "type 'dance' is unknown"),
    ]
    assert sorted(path.name for path in target.parent.iterdir()) == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id\nu,i\n", "events need type, timestamp"),
        (HEADER + "u,i,view,whenever\n", "row 2, column 'timestamp': 'whenever' is not a time"),
        (HEADER + "u,i,view,1300000000\nu,i,view,1,1\n", "line 3: 5 fields"),
        ("", "is empty"),
    ],
)
def test_a_bad_file_beside_a_good_one_changes_nothing(
    tmp_path: Path, shop: Store, text: str, message: str
) -> None:
    good, bad = _file(tmp_path, _views(5), "good.csv"), _file(tmp_path, text, "bad.csv")
    before = shop.fingerprint()
    for whole_rows in (0, 1000):
        with pytest.raises(DataError, match=message) as error:
            ingest(shop, "events", [good, bad], whole_rows=whole_rows, rejected=tmp_path / "r.csv")
        assert "bad.csv" in str(error.value)
    assert shop.fingerprint() == before
    assert not (tmp_path / "r.csv").exists()


def test_a_large_file_in_parts_is_the_same_events(tmp_path: Path, shop: Store) -> None:
    path = _file(tmp_path, _views(3000) + ",i,view,1300000000\n")
    done = ingest(shop, "events", [path], whole_rows=100, rejected=tmp_path / "r.parquet")
    report = done.reports["events"]
    assert (report.rows, report.kept, done.new_rows) == (3001, 3000, {"events": 3000})
    assert "bots" in report.notes[0]
    assert len(pl.read_parquet(tmp_path / "r.parquet")) == 1
    assert ingest(shop, "events", [path]).new_rows == {"events": 0}
    dry = ingest(shop, "events", [path], whole_rows=100, dry_run=True)
    assert dry.reports == done.reports


def test_progress_is_told(tmp_path: Path, shop: Store) -> None:
    told: list[tuple[str, int]] = []
    ingest(
        shop,
        "events",
        [_file(tmp_path, _views(10))],
        progress=lambda stage, rows: told.append((stage, rows)),
    )
    assert told == [("read", 10), ("write", 10)]


def test_items_keep_their_other_columns(tmp_path: Path, shop: Store) -> None:
    path = _file(tmp_path, "item_id,title,price,colour\n1, Mug ,£2.50,red\n2,Cup,,\n", "items.csv")
    ingest(shop, "items", [path])
    items = shop.read("items", columns=["title", "price", "attributes"])
    assert items.rows() == [("Mug", 2.5, '{"colour":"red"}'), ("Cup", None, None)]


def test_aliases_merge_what_was_and_what_comes(tmp_path: Path, shop: Store) -> None:
    ingest(shop, "events", [_file(tmp_path, HEADER + "web-1,old-i,view,1300000000\n")])
    rows = "platform,alias,user_id\nweb,web-1,ann\nproduct,old-i,i\n"
    ingest(shop, "aliases", [_file(tmp_path, rows, "aliases.csv")])
    later = _file(tmp_path, HEADER + "web-1,i,view,1300000009\n", "later.csv")
    assert ingest(shop, "events", [later]).new_rows == {"events": 1}
    assert ingest(shop, "events", [later]).new_rows == {"events": 0}
    events = shop.read("events", columns=["user_id", "item_id"])
    assert events.rows() == [("ann", "i"), ("ann", "i")]
    clash = _file(tmp_path, "platform,alias,user_id\nweb,x,ann\nweb,x,bob\n", "clash.csv")
    before = shop.fingerprint()
    with pytest.raises(DataError, match="joins 'ann' and 'bob'"):
        ingest(shop, "aliases", [clash])
    assert shop.fingerprint() == before


def test_nothing_to_read_is_said(shop: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file was given"):
        ingest(shop, "events", [])
    with pytest.raises(SchemaError, match="table 'sales' is unknown"):
        ingest(shop, "sales", [tmp_path / "x.csv"])
    with pytest.raises(DataError, match="is a folder"):
        ingest(shop, "events", [tmp_path])


_LINES = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", ""]),
        st.sampled_from(["i", "j"]),
        st.sampled_from(["purchase", "view", "zzz"]),
        st.sampled_from(["2011-01-01", "2011-01-02", ""]),
        st.sampled_from(["3", "-1", "0", "x"]),
    ),
    min_size=1,
    max_size=20,
)


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_LINES)
def test_any_file_lands_once(tmp_path: Path, lines: list[tuple[str, ...]]) -> None:
    text = "user_id,item_id,type,timestamp,quantity\n" + "".join(",".join(x) + "\n" for x in lines)
    path = _file(tmp_path, text, "any.csv")
    place = tmp_path / "any.db"
    place.unlink(missing_ok=True)
    options = Cleaning(most_unreadable=1)
    with Store.open(place, create=True) as store:
        once = ingest(store, "events", [path], cleaning=options)
        held = store.read("events")
        again = ingest(store, "events", [path], cleaning=options)
        assert again.new_rows == {"events": 0}
        assert store.read("events").equals(held)
    assert once.reports == again.reports
    assert once.reports["events"].rows == len(lines)
    assert once.new_rows["events"] <= once.reports["events"].kept


@pytest.mark.real
@pytest.mark.slow
def test_online_retail_from_the_raw_file(real_data: Path, shop: Store) -> None:
    raw = real_data / "online_retail" / "online_retail.parquet"
    done = ingest(shop, "events", [raw], preset="online-retail")
    report = done.reports["events"]
    refused = {rule.name: rule.rejected for rule in report.rules}
    changed = {rule.name: rule.changed for rule in report.rules}
    assert report.rows == len(pl.read_parquet(raw)) == report.kept + sum(refused.values())
    # a fifth to a quarter has no customer, few lines are cancelled, nobody is a bot
    assert 0.2 < refused["users"] / report.rows < 0.3
    assert 0.01 < refused["cancellations"] / report.rows < 0.04
    assert refused["bots"] == 0
    assert changed["quantities"] < 0.003 * report.kept
    assert shop.count("events") == report.kept == done.new_rows["events"]
    items = shop.read("items")
    assert not items["item_id"].is_in(["POST", "M", "D", "DOT", "BANK CHARGES", "C2"]).any()
    assert not items["title"].str.contains(r"(?i)damage|wrong|\?$").any()
    assert (items["price"] > 0).all()
    assert set(shop.read("events")["item_id"]) <= set(items["item_id"])
    assert ingest(shop, "events", [raw], preset="online-retail").new_rows == dict.fromkeys(
        ("users", "items", "events"), 0
    )


@pytest.mark.real
def test_made_up_times_cost_no_user_an_event(real_data: Path, shop: Store) -> None:
    for name, fill in (("amazon_beauty", {}), ("lastfm", {"timestamp": "2011-01-01"})):
        raw = real_data / name / "events.parquet"
        report = ingest(shop, "events", [raw], fill=fill, dry_run=True).reports["events"]
        assert (report.kept, report.changed) == (report.rows, 0)

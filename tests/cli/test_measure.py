"""Commands that measure: figures, peers, slates from elsewhere, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result

from tailrec import columns as c
from tailrec.comparison import PEERS
from tailrec.items import PADDING
from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]
WORDS_ALONE = "[features]\nencode = false\n"


@pytest.fixture
def words_alone(shop_folder: Path) -> Path:
    """A shop that needs no language model: quicker to fit."""
    (shop_folder / "tailrec.toml").write_text(WORDS_ALONE, "utf-8")
    return shop_folder


def contenders(told: Any) -> dict[str, Any]:
    return {one["name"]: one for one in told["contenders"]}


@pytest.mark.parametrize("split", ["time", "leave-one-out", "cold"])
def test_figures_for_every_split(ask: Asks, words_alone: Path, split: str) -> None:
    words = ("compare", "--shop", words_alone, "--split", split, "--windows", 2, "--at", "5,10")
    told = ask(*words, "--with", "popular,ease", "--budget", 0)
    assert told["split"] == split
    assert told["at"] == [5, 10]
    assert told["files"] == []
    assert [one["name"] for one in told["contenders"]] == ["linear", "popular", "ease"]
    for one in told["contenders"]:
        assert len(one["splits"]) == len(told["splits"]) == (2 if split == "time" else 1)
        for name in ("recall@5", "ndcg@10", "coverage@10", "gini@10"):
            assert 0 <= one["figures"][name] <= 1
        if split != "cold":
            assert 0 <= one["figures"]["recall@10/pareto"] <= 1
    if split == "cold":
        # Behaviour alone knows nothing of items that nobody had.
        linear, popular, ease = (one["figures"]["recall@10/cold"] for one in told["contenders"])
        assert linear > popular == ease == 0


def test_a_table_and_a_report(run: Run, ask: Asks, words_alone: Path, tmp_path: Path) -> None:
    options = ("--shop", words_alone, "--split", "leave-one-out")
    words = (
        "compare",
        *options,
        "--with",
        "popular",
        "--budget",
        0,
        "--report",
        tmp_path / "report",
    )
    printed = run(*words).stdout
    files = [tmp_path / "report" / name for name in ("comparison.json", "index.html")]
    for file in files:
        assert str(file) in printed.splitlines()
    written = json.loads(files[0].read_text("utf-8"))
    assert list(contenders(written)) == ["linear", "popular"]
    for one in written["contenders"]:
        start = f"│ {one['name']} "
        line = next(row for row in printed.splitlines() if row.startswith(start))
        assert f"{one['figures']['ndcg@10']:.4f}" in line
    assert "linear / popular" in printed
    # The shop alone, on the same split, has the same figures, and nobody to be judged by.
    alone = ask("evaluate", *options)
    assert list(contenders(alone)) == ["linear"]
    assert contenders(alone)["linear"]["figures"] == contenders(written)["linear"]["figures"]
    assert alone["verdicts"] == []
    assert "fairness" not in alone


def test_fairness_by_a_field(run: Run, ask: Asks, words_alone: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--shop", words_alone, "--split", "time", "--windows", 2)
    told = ask(*words, "--fair-by", "brand", "--report", tmp_path / "report")
    fair = told["fairness"]
    assert (fair["by"], fair["at"]) == ("brand", 20)
    groups = {row["group"]: row for row in fair["groups"]}
    with Shop.open(words_alone) as shop:
        splits = shop.splits("time", windows=2)
    asked = pl.concat(split.train.catalog.table[c.BRAND].gather(split.target) for split in splits)
    counts = dict(asked.drop_nulls().value_counts().iter_rows())
    assert {name: row["targets"] for name, row in groups.items() if row["targets"]} == counts
    for share in ("exposure", "merit"):
        assert sum(row[share] for row in groups.values()) == pytest.approx(1)
    judged = [row["treatment"] for row in fair["groups"] if row["judged"]]
    assert judged == sorted(judged)
    assert fair["figures"]["worst_treatment@20/judged"] == judged[0]
    people = fair["people"]
    assert sum(mean["requests"] for mean in people["means"].values()) == sum(map(len, splits))
    assert people["gap"]["low"] <= people["gap"]["mid"] <= people["gap"]["high"]
    picture, table = (tmp_path / "report" / name for name in ("fairness.png", "fairness.csv"))
    assert told["files"][-2:] == [str(picture), str(table)]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "treatment_ratio@20" in pl.read_csv(table)["figure"]

    printed = run(*words, "--fair-by", "brand").stdout
    for row in fair["groups"][:15]:
        line = next(each for each in printed.splitlines() if each.startswith(f"│ {row['group']} "))
        assert f"{row['treatment']:.4f}" in line
    assert f"{fair['figures']['treatment_difference@20']:.4f}" in printed
    assert f"{people['gap']['mid']:.4f} ({people['gap']['low']:.4f}–" in printed


def test_all_peers_but_the_shops_own_unless_some_are_named(run: Run, words_alone: Path) -> None:
    """A name that stands twice is told, with all names, before anything is fitted."""
    (words_alone / "tailrec.toml").write_text(f'{WORDS_ALONE}[source]\nkind = "ease"\n', "utf-8")
    words = ("compare", "--shop", words_alone, "--slates", "ease=x")
    peers = ", ".join(n for n, peer in PEERS.items() if peer.quick and n != "ease")
    refused(run(*words), f"ease, {peers}, ease: two contenders")
    refused(run(*words, "--with", " als , popular "), "ease, als, popular, ease: two contenders")
    refused(run(*words, "--with", ""), "ease, ease: two contenders")


def test_options_are_passed_on(ask: Asks, words_alone: Path) -> None:
    (words_alone / "tailrec.toml").write_text(f'keep = 0.9\ntail = "mass"\n{WORDS_ALONE}', "utf-8")
    words = ("compare", "--shop", words_alone, "--split", "time", "--windows", 1, "--days", 10)
    told = ask(*words, "--with", "als,itemknn", "--seeds", 2, "--budget", "0.01s")
    assert told["goal"] == {"objective": "tail", "keep": 0.9, "tail": "mass"}
    assert (told["seeds"], told["budget_seconds"]) == (2, 0.01)
    linear, als, knn = told["contenders"]
    assert als["spread"]["ndcg@10"] > 0
    assert linear["spread"] == knn["spread"] == {}
    assert all(one["costs"]["search_seconds"] > 0 for one in told["contenders"])
    with Shop.open(words_alone) as shop:
        assert told["splits"][0]["cut"] == _cut(shop)
    own = ask("evaluate", *words[1:], "--objective", "overall", "--keep", "0.5", "--budget", "0")
    assert own["goal"] == {"objective": "overall", "keep": 0.5, "tail": "mass"}
    assert own["budget_seconds"] == 0


def _cut(shop: Shop) -> str:
    (split,) = shop.splits("time", windows=1, days=10)
    assert split.cut is not None
    return str(pl.Series([split.cut]).cast(pl.Datetime("us", "UTC"))[0].isoformat())


def test_slates_for_exported_splits(run: Run, ask: Asks, words_alone: Path, tmp_path: Path) -> None:
    """Whoever answers the exported requests with our slates has our figures."""
    words = ("compare", "--shop", words_alone, "--split", "time", "--windows", 2)
    words += ("--with", "ease", "--budget", 0)
    told = ask(*words, "--export", tmp_path / "splits")
    assert list(told) == ["files"]
    assert len(told["files"]) == 14
    summaries = [
        json.loads((tmp_path / "splits" / str(n) / "split.json").read_text("utf-8"))
        for n in range(2)
    ]
    listed = run(*words, "--export", tmp_path / "again").stdout.splitlines()
    assert listed == [file.replace("splits", "again") for file in told["files"]]

    _answered(words_alone, tmp_path / "splits", tmp_path / "mine.parquet")
    card = {"fit_seconds": 2.5, "fingerprints": [own["fingerprint"] for own in summaries]}
    (tmp_path / "mine.json").write_text(json.dumps(card), "utf-8")
    told = ask(*words, "--slates", f"mine={tmp_path / 'mine.parquet'}")
    assert told["splits"] == summaries
    both = contenders(told)
    assert list(both) == ["linear", "ease", "mine"]
    assert both["mine"]["figures"] == both["ease"]["figures"]
    assert both["mine"]["intervals"] == both["ease"]["intervals"]
    assert both["mine"]["card"] == card
    assert both["ease"]["card"] is None
    verdicts = {(v["figure"], v["other"]): v["ratio"] for v in told["verdicts"]}
    assert all(verdicts[figure, "ease"] == verdicts[figure, "mine"] for figure, _ in verdicts)
    # A card of other splits.
    result = run(*words[:-2], "--windows", 1, "--slates", f"mine={tmp_path / 'mine.parquet'}")
    assert result.exit_code == 2
    assert "write the splits anew with --export" in result.stderr


def _answered(folder: Path, exported: Path, path: Path) -> None:
    """Slates of `ease` for the exported requests, as rows."""
    tables = []
    with Shop.open(folder) as shop:
        recipe = shop.recipe.engine()
        recipe = recipe.model_copy(update={"source": PEERS["ease"].source})
        for number, split in enumerate(shop.splits("time", windows=2)):
            slates = recipe.fit(split.train).recommend(split.queries, 20)
            users = pl.read_parquet(exported / str(number) / "requests.parquet")[c.USER_ID]
            items = pl.read_parquet(exported / str(number) / "items.parquet")[c.ITEM_ID]
            request, place = (slates.ids != PADDING).nonzero()
            tables.append(
                pl.DataFrame(
                    {
                        c.USER_ID: users.gather(request),
                        c.ITEM_ID: items.gather(slates.ids[request, place]),
                        c.RANK: place + 1,
                        "split": split.name,
                    }
                )
            )
    pl.concat(tables).write_parquet(path)


def test_made_up_times_are_refused(run: Run, tmp_path: Path) -> None:
    rows = [f"u{u},i{(u + s) % 6},play,2024-01-0{1 + s}" for u in range(30) for s in range(4)]
    (tmp_path / "plays.csv").write_text("\n".join(["user_id,item_id,type,timestamp", *rows]))
    folder = tmp_path / "shop"
    assert run("init", folder).exit_code == 0
    (folder / "tailrec.toml").write_text(WORDS_ALONE, "utf-8")
    result = run("ingest", "events", tmp_path / "plays.csv", "--shop", folder)
    assert result.exit_code == 0, result.stderr
    for command in ("evaluate", "compare"):
        result = run(command, "--shop", folder, "--split", "time")
        assert result.exit_code == 2
        assert "use --split leave-one-out" in result.stderr
    assert run("evaluate", "--shop", folder, "--split", "leave-one-out").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "--split", "random"), "must be time, leave-one-out or cold"),
        (("evaluate", "--at", "ten"), "'ten' are no slate lengths"),
        (("evaluate", "--at", "0"), "'0' are no slate lengths"),
        (("evaluate", "--days", "0"), "must be above 0"),
        (("evaluate", "--days", "5000"), "more data, or fewer or shorter windows"),
        (("evaluate", "--budget", "soon"), "'soon' is no time"),
        (("evaluate", "--fair-by", "colour"), "'colour' puts no items together; known are title"),
        (
            ("evaluate", "--fair-by", "attributes.a"),
            "none has any attributes.a; take another field",
        ),
        (("compare", "--with", "magic"), "magic cannot be compared; known are popular, recent"),
        (("compare", "--with", "ease,ease"), "ease, ease: each is named once"),
        (("compare", "--with", "linear"), "linear, linear: two contenders of one name"),
        (("compare", "--slates", "mine"), "'mine' is no name=FILE"),
        (("compare", "--slates", "a=x", "--slates", "a=y"), "'a=y' is no name=FILE, or names a"),
        (("compare", "--slates", "ease=x"), "two contenders of one name"),
        (("compare", "--budget", "1d"), "'1d' is no time"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, fitted_folder: Path, words: tuple[str, ...], says: str
) -> None:
    refused(run(*words, "--shop", fitted_folder), says)


def refused(result: Result, says: str) -> None:
    """Nothing but one line on stderr, with the exit code of bad input."""
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert isinstance(result.exception, SystemExit)


def test_slates_that_do_not_fit_are_one_line(run: Run, words_alone: Path, tmp_path: Path) -> None:
    with Shop.open(words_alone) as shop:
        (split,) = shop.splits("leave-one-out")
    users = split.train.user_ids[split.users].tolist()
    slates = pl.DataFrame({c.USER_ID: users, c.ITEM_ID: "no such item", c.RANK: 1})
    path = tmp_path / "mine.parquet"
    words = ("compare", "--shop", words_alone, "--split", "leave-one-out", "--with", "")
    words += ("--budget", 0, "--slates", f"mine={path}")
    refused(run(*words), "mine.parquet cannot be read as Parquet")
    path.write_text("user_id,item_id,rank\n", "utf-8")
    refused(run(*words), "mine.parquet cannot be read as Parquet")
    slates.drop(c.RANK).write_parquet(path)
    refused(run(*words), "slates need user_id, item_id and a whole number rank")
    slates[1:].write_parquet(path)
    refused(run(*words), f"no slate for 1 of the {len(users)} requests of 'leave-one-out'")
    slates.write_parquet(path)
    refused(run(*words), "'no such item' for one")
    known = split.train.catalog.ids[split.queries.item[0]]
    slates.with_columns(pl.lit(known).alias(c.ITEM_ID)).write_parquet(path)
    refused(run(*words), "slates hold items that the request excludes")
    path.with_suffix(".json").write_text("none", "utf-8")
    refused(run(*words), "mine.json is no JSON")

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.batch import recommended
from tailrec.data.histories import build_dataset
from tailrec.errors import ArtifactError, DataError, RecipeError, UnknownItem, UnknownUser
from tailrec.shop import Shop
from tailrec.slates import Ask, explained, found, titled

COLUMNS = ["user_id", "rank", "item_id", "score"]
NEW = pl.DataFrame(
    {
        c.ITEM_ID: ["NEW"],
        c.TITLE: ["Quasar Lantern, violet"],
        c.DESCRIPTION: ["A violet lantern of the kind that quasars have."],
    }
)


def history(shop: Shop, user: str) -> set[str]:
    data = shop.dataset()
    row = data.user_index[user]
    return set(data.catalog.ids[data.item[data.ptr[row] : data.ptr[row + 1]]])


def busiest(shop: Shop) -> str:
    data = shop.dataset()
    return str(data.user_ids[np.diff(data.ptr).argmax()])


def test_one_person_gets_k_ranked_items_not_had_yet(fitted: Shop) -> None:
    user = busiest(fitted)
    slate = recommended(fitted, user=user, ask=Ask(k=7))
    assert slate.columns == COLUMNS
    assert slate.schema == {c.USER_ID: pl.String, c.RANK: pl.Int32, c.ITEM_ID: pl.String} | {
        c.SCORE: pl.Float32
    }
    assert slate[c.RANK].to_list() == list(range(1, 8))
    assert slate[c.USER_ID].unique().to_list() == [user]
    assert slate[c.SCORE].is_sorted(descending=True)
    assert not set(slate[c.ITEM_ID]) & history(fitted, user)


def test_seen_items_come_back_when_asked_for(fitted: Shop) -> None:
    user = busiest(fitted)
    slate = recommended(fitted, user=user, ask=Ask(k=20, include_seen=True))
    assert set(slate[c.ITEM_ID]) & history(fitted, user)


def test_somebody_unknown_gets_what_is_popular(fitted: Shop) -> None:
    slate = recommended(fitted, user="nobody we know", ask=Ask(k=5))
    engine = fitted.engine()
    sold = ~fitted.assortment().hidden
    popular = [engine.ids[item] for item in engine.newcomers.ids if sold[item]]
    assert slate[c.ITEM_ID].to_list() == popular[:5]


def test_all_means_everybody_with_a_history(fitted: Shop) -> None:
    slates = recommended(fitted, users="all", ask=Ask(k=4))
    assert slates[c.USER_ID].unique(maintain_order=True).to_list() == [
        str(user) for user in fitted.dataset().user_ids
    ]
    sizes = slates.group_by(c.USER_ID).agg(pl.col(c.RANK).sort())
    assert all(ranks.to_list() == [1, 2, 3, 4] for ranks in sizes[c.RANK])


def test_a_batch_and_one_at_a_time_agree(fitted: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = (Ask(k=5), Ask(k=5, diversity=0.5))
    whole = [recommended(fitted, users="all", ask=ask) for ask in asks]
    user = str(fitted.dataset().user_ids[77])
    for ask, table in zip(asks, whole, strict=True):
        one = recommended(fitted, user=user, ask=ask)
        assert one.equals(table.filter(pl.col(c.USER_ID) == user))
    monkeypatch.setattr("tailrec.batch.CHUNK", 13)
    assert recommended(fitted, users="all", ask=asks[0]).equals(whole[0])


@pytest.mark.parametrize("name", ["some.txt", "some.csv", "some.parquet", "some.jsonl", "some"])
def test_people_of_a_file_in_its_order_each_once(fitted: Shop, tmp_path: Path, name: str) -> None:
    ids = ["U000009", "U000002", "U000009", "007"]
    frame = pl.DataFrame({c.USER_ID: ids, "more": range(4)})
    path = tmp_path / name
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        path.write_text("\n".join([*ids, "", "  "]), "utf-8")
    slates = recommended(fitted, users=str(path), ask=Ask(k=2))
    # An id that looks like a number stays as written.
    assert slates[c.USER_ID].to_list() == [u for u in ("U000009", "U000002", "007") for _ in "12"]


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_slates_go_to_a_file(fitted: Shop, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"slates{ending}"
    slates = recommended(fitted, users="all", ask=Ask(k=3), out=out)
    read = pl.read_parquet(out) if ending == ".parquet" else pl.read_csv(out)
    assert read.columns == COLUMNS
    assert read.cast({c.RANK: pl.Int32, c.SCORE: pl.Float32}).equals(slates)
    assert [entry.name for entry in tmp_path.iterdir()] == [out.name]


def test_diversity_makes_slates_less_alike(fitted: Shop) -> None:
    engine = fitted.engine()
    place = {item: row for row, item in enumerate(engine.ids)}
    dense = engine.features.features.dense
    means = []
    for diversity in (0.0, 0.3, 0.6, 0.9):
        slates = recommended(fitted, users="all", ask=Ask(k=8, diversity=diversity))
        rows = slates[c.ITEM_ID].replace_strict(place).to_numpy().reshape(-1, 8)
        total = dense[rows].sum(axis=1)
        means.append(float(((total**2).sum(axis=1) - 8).mean() / 56))
    assert means == sorted(means, reverse=True)
    assert means[-1] < means[0] - 0.05


def test_a_new_item_is_found_and_recommended_at_once(shop: Shop) -> None:
    version = shop.versions()
    user = busiest(shop)
    first = recommended(shop, user=user, ask=Ask(k=1))[c.ITEM_ID][0]
    twin = shop.store.read("items").filter(pl.col(c.ITEM_ID) == first)
    shop.store.write(
        "items", pl.concat([NEW, twin.with_columns(item_id=pl.lit("TWIN"))], how="diagonal")
    )
    assert found(shop, "quasar lantern", 3)[c.ITEM_ID][0] == "NEW"
    slate = recommended(shop, user=user, ask=Ask(k=60))
    assert slate.filter(pl.col(c.ITEM_ID) == "TWIN")[c.SCORE].to_list() > [0]
    assert shop.versions() == version


def test_what_is_not_for_sale_never_appears(shop: Shop) -> None:
    user = busiest(shop)
    first, second, third = recommended(shop, user=user, ask=Ask(k=3))[c.ITEM_ID]
    title = shop.store.read("items").filter(pl.col(c.ITEM_ID) == first)[c.TITLE][0]
    assert found(shop, title, 1)[c.ITEM_ID].to_list() == [first]
    gone = pl.DataFrame({c.ITEM_ID: [first], c.TITLE: [title], c.AVAILABLE: [False]})
    shop.store.write("items", gone)
    for ask in (Ask(k=200), Ask(k=200, include_seen=True), Ask(k=30, diversity=0.5)):
        assert first not in recommended(shop, users="all", ask=ask)[c.ITEM_ID]
    assert recommended(shop, user=user, ask=Ask(k=2))[c.ITEM_ID].to_list() == [second, third]
    assert first not in recommended(shop, user="nobody", ask=Ask(k=200))[c.ITEM_ID]
    assert first not in found(shop, title, 200)[c.ITEM_ID]
    verdict, _ = explained(shop, user, first)
    assert verdict["excluded"]
    assert "not for sale" in verdict["why"]


def test_explained_adds_up_and_says_why_not(fitted: Shop) -> None:
    user = busiest(fitted)
    slate = recommended(fitted, user=user, ask=Ask(k=3, tail=0.4))
    verdict, parts = explained(fitted, user, slate[c.ITEM_ID][1], ask=Ask(tail=0.4))
    assert verdict["rank"] == 2
    assert parts["behaviour"].sum() + parts["text"].sum() == pytest.approx(verdict["score"])
    assert verdict["score"] == pytest.approx(slate[c.SCORE][1], rel=1e-4)
    assert set(parts[c.ITEM_ID]) <= history(fitted, user)
    assert parts[c.TITLE].null_count() == 0
    assert re.match(r"place 2 of 200; ", verdict["why"])
    had, _ = explained(fitted, user, next(iter(history(fitted, user))))
    assert (had["rank"], had["excluded"]) == (None, True)
    assert "has it already" in had["why"]
    seen, _ = explained(fitted, user, had[c.ITEM_ID], ask=Ask(include_seen=True))
    assert not seen["excluded"]


def test_explained_counts_what_being_popular_gives(shop_folder: Path) -> None:
    recipe = "[source]\nkind = 'linear'\nprior = 0.02\n[features]\nencode = false\n"
    (shop_folder / "tailrec.toml").write_text(recipe, "utf-8")
    told = set()
    with Shop.open(shop_folder) as shop:
        shop.fit()
        user = busiest(shop)
        slate = recommended(shop, user=user, ask=Ask(k=100, tail=0.1))
        for item, score in slate.select(c.ITEM_ID, c.SCORE).rows()[::7]:
            verdict, parts = explained(shop, user, item, ask=Ask(tail=0.1))
            text, behaviour = parts["text"].sum(), parts["behaviour"].sum()
            popularity = verdict["popularity"]
            assert text + behaviour + popularity == pytest.approx(verdict["score"])
            assert verdict["score"] == pytest.approx(score, rel=1e-4)
            if min(text, behaviour) >= 0:
                shares = [int(share) for share in re.findall(r"(\d+)%", verdict["why"])]
                expected = [text, behaviour, *([popularity] if popularity else [])]
                assert shares == pytest.approx([100 * part / score for part in expected], abs=0.51)
            speaking, _, against = verdict["why"].partition(", though ")
            for part, reason in ((behaviour, "people had"), (text, "words and meaning")):
                assert (reason in against) == (part < 0)
            assert ("being popular" in speaking) == (popularity > 0)
            told.add((min(text, behaviour) < 0, popularity > 0))
    assert told >= {(False, True), (True, True)}


def test_later_events_are_unknown_as_of_an_instant(fitted: Shop) -> None:
    asof = datetime(2025, 2, 1, tzinfo=UTC)
    slates = recommended(fitted, users="all", ask=Ask(k=5, asof=asof))
    events = fitted.store.read("events", until=asof)
    known = build_dataset(events, fitted.store.read("items"), fitted.recipe.histories, until=asof)
    assert set(slates[c.USER_ID]) == set(known.user_ids)
    assert known.n_events < fitted.dataset().n_events / 1.5
    engine = fitted.engine()
    hidden = fitted.assortment().hidden
    expected = engine.recommend(engine.queries(known, hidden=hidden), 5)
    assert slates[c.ITEM_ID].to_list() == engine.ids[expected.ids.ravel()].tolist()


def test_titles_stand_beside_items(fitted: Shop) -> None:
    slate = titled(fitted, recommended(fitted, user="U000001", ask=Ask(k=3)))
    assert slate.columns == [*COLUMNS, c.TITLE]
    assert slate[c.RANK].to_list() == [1, 2, 3]
    assert slate[c.TITLE].null_count() == 0


def test_questions_that_cannot_be_answered(fitted: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--user ID, or --users"):
        recommended(fitted)
    with pytest.raises(DataError, match="--user ID, or --users"):
        recommended(fitted, user="U000001", users="all")
    with pytest.raises(DataError, match=r"must end in \.parquet or \.csv"):
        recommended(fitted, users="all", out=tmp_path / "slates.xlsx")
    with pytest.raises(DataError, match="is no folder"):
        recommended(fitted, users="all", out=tmp_path / "none" / "slates.csv")
    with pytest.raises(DataError, match="is no file"):
        recommended(fitted, users=str(tmp_path / "none.txt"))
    with pytest.raises(ArtifactError, match="'v1' is not in"):
        recommended(fitted, user="U000001", version="v1")
    with pytest.raises(UnknownUser, match="'nobody' has no history"):
        explained(fitted, "nobody", "P000001")
    with pytest.raises(UnknownItem, match="'none' is not among the 200"):
        explained(fitted, "U000001", "none")
    with pytest.raises(DataError, match="no words"):
        found(fitted, "  ", 5)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "names nobody"),
        ("latin.txt", "Zoë".encode("latin-1"), "no text in UTF-8"),
        ("other.csv", b"person\nU1\n", r"has columns \['person'\]; user_id is needed"),
        ("broken.parquet", b"PAR1 and then nothing", "cannot be read as Parquet"),
    ],
)
def test_files_of_people_that_cannot_be_read(
    fitted: Shop, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        recommended(fitted, users=str(tmp_path / name))


def test_dials_that_would_do_nothing_are_refused(shop_folder: Path) -> None:
    (shop_folder / "tailrec.toml").write_text(
        '[source]\nkind = "ease"\n[features]\nencode = false\n'
    )
    with Shop.open(shop_folder) as shop:
        shop.fit()
        with pytest.raises(RecipeError, match="'ease' cannot lean to the tail"):
            recommended(shop, user="U000001", ask=Ask(tail=0.5))
        with pytest.raises(RecipeError, match="encode = true"):
            recommended(shop, user="U000001", ask=Ask(diversity=0.5))
        assert len(recommended(shop, user="U000001", ask=Ask(k=5))) == 5

"""The texts of a shop: cleaned, each once, and held out in a way that lasts."""

import polars as pl
import pytest

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.training.corpus import Texts


def catalog(titles: list[str], descriptions: list[str] | None = None) -> Catalog:
    columns = {c.ITEM_ID: [f"i{n}" for n in range(len(titles))], c.TITLE: titles}
    if descriptions is not None:
        columns[c.DESCRIPTION] = descriptions
    return Catalog(pl.DataFrame(columns))


def events(type_: str, texts: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {c.TYPE: type_, c.TEXT: texts}, schema={c.TYPE: pl.String, c.TEXT: pl.String}
    )


def named(n: int, word: str = "lipstick") -> list[str]:
    return [f"{word} number {k}" for k in range(n)]


def test_kinds_are_counted_and_a_text_counts_once() -> None:
    both = pl.concat(
        [
            events("review", ["a fine lipstick", "lipstick number 3", None, "a fine lipstick"]),
            events("search", ["a fine lipstick", "red lip"]),
            events("purchase", ["no text to read"]),
        ]
    )
    corpus = Texts().gather(catalog(named(100)), both)
    assert corpus.counts == {"items": 100, "fields": 0, "reviews": 1, "searches": 1}
    everything = corpus.train + corpus.held_out
    assert len(everything) == len(set(everything)) == 102
    assert "no text to read" not in everything


def test_kinds_that_are_not_asked_for_are_not_read() -> None:
    corpus = Texts(kinds=("searches",)).gather(
        catalog(named(100)), events("search", named(90, "q"))
    )
    assert corpus.counts == {"searches": 90}


def test_texts_are_cleaned() -> None:
    dirty = "\ufeff<b>Red</b>&nbsp;&amp; blue\r\n see https://shop.example/x?y=1 now 3 < 5"
    corpus = Texts().gather(catalog([*named(100), dirty, "!!", "ab"]))
    assert "Red & blue see now 3 < 5" in corpus.train + corpus.held_out
    assert corpus.counts["items"] == 101


def test_long_texts_are_cut_off() -> None:
    corpus = Texts(longest=12).gather(catalog([f"{n:03} many more words" for n in range(300)]))
    assert max(map(len, corpus.train)) == 12


def test_new_data_move_no_text_to_the_other_side() -> None:
    before = Texts(held_out=0.2).gather(catalog(named(200)))
    after = Texts(held_out=0.2).gather(catalog([*named(100, "soap"), *named(400)]))
    assert set(before.held_out) == set(after.held_out) & {*before.held_out, *before.train}
    # 200 draws of one in five: four standard deviations are 0.113.
    assert len(before.held_out) / 200 == pytest.approx(0.2, abs=0.115)


def test_what_is_held_out_lends_no_field_to_training() -> None:
    titles = named(300)
    described = [f"description of {title}" for title in titles]
    corpus = Texts(held_out=0.3).gather(catalog(titles, described))
    told = set(corpus.train)
    assert corpus.counts["fields"] == 300 - len(corpus.held_out) > 0
    for text in corpus.held_out:
        title = text[: text.index(" description")]
        assert f"description of {title}" not in told
    assert len(told & set(described)) == corpus.counts["fields"]


def test_the_digest_follows_the_texts() -> None:
    digests = {
        Texts().gather(catalog(titles)).digest()
        for titles in (named(100), named(101), named(100, "soap"))
    }
    assert len(digests) == 3
    assert Texts().gather(catalog(named(100))).digest() in digests


@pytest.mark.parametrize("titles", [[], ["", "!"], ["a single title"]])
def test_too_little_to_read_is_told(titles: list[str]) -> None:
    table = catalog(titles) if titles else None
    with pytest.raises(DataError, match="different texts of kinds items"):
        Texts().gather(table, events("review", []))

"""Tables escape what they are given; pictures stand inside a page and point nowhere out of it."""

import re
from pathlib import Path

import pytest

from tailrec.pages import Cell, canvas, html_table, literal, number, page, picture, write_bytes

NASTY = '<b>&"$x$'


def test_a_table_escapes_texts_and_aligns_numbers() -> None:
    table = html_table([NASTY, "n"], [[Cell(NASTY, NASTY, colour="#123456"), number("1.5", "low")]])
    assert "<b>" not in table
    assert table.count("&lt;b&gt;&amp;&quot;$x$") == 3
    assert '<th scope="col" class="number">n</th>' in table
    assert '<td class="number">1.5<small>low</small></td>' in table
    assert 'style="background:#123456"' in table


def test_a_table_without_rows_has_its_head() -> None:
    assert html_table(["a", "b"], []).count("<th") == 3  # thead and two columns


def test_a_picture_is_svg_with_text_inside_the_page() -> None:
    figure, axes = canvas(literal("$a$ < b"), "across", "up")
    axes.plot([0, 1], [0, 1])
    drawn = picture(figure, "one", NASTY)
    assert drawn.startswith('<div class="picture"><svg role="img" aria-label="&lt;b&gt;&amp;')
    assert "$a$ &lt; b</text>" in drawn
    assert "http" not in drawn
    ids = re.findall(r' id="([^"]*)"', drawn)
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert set(re.findall(r"(?:url\(|href=\")#([^)\"]*)", drawn)) <= set(ids)


def test_a_picture_with_very_much_in_it_is_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrec.pages.SVG_AT_MOST", 10)
    figure, _ = canvas("", "", "")
    drawn = picture(figure, "one", NASTY)
    assert 'src="data:image/png;base64,iVBOR' in drawn
    assert 'alt="&lt;b&gt;' in drawn


def test_the_same_picture_gives_the_same_text() -> None:
    drawn = []
    for _ in range(2):
        figure, axes = canvas("title", "across", "up")
        axes.plot([0, 1], [0, 1], marker="o")
        drawn.append(picture(figure, "one", "alt"))
    assert drawn[0] == drawn[1]


def test_a_page_is_whole_and_its_title_text(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "index.html", page(NASTY, "<h1>x</h1>").encode())
    text = path.read_text("utf-8")
    assert "<title>&lt;b&gt;" in text
    assert text.startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]

"""Pages and pictures that need no other file: one look, tables, SVG and PNG inside the page."""

import html
import re
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tailrec.files import whole_file

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by colour-blind readers, and in print by their lightness.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
BLACK: Final = "#000000"
GREY: Final = "#999999"

SVG_AT_MOST: Final = 300_000
"""Characters of a picture inside a page; a longer one goes in as PNG."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it says.
        note: small print below, on as many lines as it has.
        look: CSS classes; `number` stands to the right.
        colour: of a dot before the text; empty for none.
    """

    text: str
    note: str = ""
    look: str = ""
    colour: str = ""


Row = Sequence[Cell | str]
"""A row of a table; a text is a cell without more."""


def number(text: str, note: str = "", *, look: str = "") -> Cell:
    """A cell whose text is a number, already written out."""
    return Cell(text, note, f"number {look}".strip())


def html_table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """A table as HTML, names and texts escaped; it scrolls by itself where it is too wide.

    Args:
        head: of the columns.
        rows: each as long as the head; the first cell names the row.
    """
    cells = [[Cell(one) if isinstance(one, str) else one for one in row] for row in rows]
    looks = [one.look for one in cells[0]] if cells else [""] * len(head)
    top = "".join(
        f'<th scope="col"{_class("number" if "number" in look else "")}>{html.escape(name)}</th>'
        for name, look in zip(head, looks, strict=True)
    )
    body = "".join(
        f"<tr>{_cell(row[0], 'th')}{''.join(_cell(one, 'td') for one in row[1:])}</tr>"
        for row in cells
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(cell: Cell, tag: str) -> str:
    dot = f'<i class="dot" style="background:{cell.colour}"></i>' if cell.colour else ""
    note = f"<small>{html.escape(cell.note)}</small>" if cell.note else ""
    scope = ' scope="row"' if tag == "th" else ""
    return f"<{tag}{scope}{_class(cell.look)}>{dot}{html.escape(cell.text)}{note}</{tag}>"


def _class(look: str) -> str:
    return f' class="{look}"' if look else ""


def folded(summary: str, inner: str) -> str:
    """Something long that opens when it is asked for; `inner` is HTML."""
    return f"<details><summary>{html.escape(summary)}</summary>{inner}</details>"


def canvas(
    title: str, across: str, up: str, *, size: tuple[float, float] = (7, 5)
) -> "tuple[Figure, Axes]":
    """An empty picture with one pair of axes, size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    tidy(axes)
    return figure, axes


def tidy(axes: "Axes") -> None:
    """A light grid below what is drawn, and no box around it."""
    axes.grid(visible=True, which="major", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def literal(text: str) -> str:
    """A text as matplotlib draws it letter by letter; two dollar signs would make it a formula."""
    return text.replace("$", r"\$")


def png(figure: "Figure") -> bytes:
    """A picture as PNG; the same picture gives the same bytes."""
    buffer = BytesIO()
    # Without the version in it, the same data give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def png_image(content: bytes, alt: str) -> str:
    """A PNG inside a page."""
    return (
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{b64encode(content).decode()}">'
    )


def picture(figure: "Figure", name: str, alt: str) -> str:
    """A picture inside a page: SVG whose text is text, or PNG where that would be very long.

    Args:
        figure: drawn.
        name: tells its parts from those of other pictures of the page; a plain word.
        alt: what it shows, for who cannot see it.
    """
    drawn = _svg(figure, name, alt)
    inner = drawn if len(drawn) <= SVG_AT_MOST else png_image(png(figure), alt)
    return f'<div class="picture">{inner}</div>'


def _svg(figure: "Figure", name: str, alt: str) -> str:
    import matplotlib

    buffer = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # Inside HTML the namespaces are known, and the metadata would point out of the page.
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    # Ids are unique in one picture; in a page they must be so among all.
    text = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; returns the path."""
    with whole_file(path) as beside:
        beside.write_bytes(content)
    return path


def page(title: str, body: str) -> str:
    """A whole page; `title` is plain text, `body` is HTML that starts with its heading."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


_STYLE: Final = """
:root { color-scheme: light; --ink: #1c2127; --soft: #59636e; --line: #e1e5ea; --blue: #0072B2 }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  background: #fff; max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.01em; margin: 0 0 .5rem }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .5rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
section { margin-top: 2.2rem; padding-top: 1.6rem; border-top: 1px solid var(--line) }
p, ul, dl { max-width: 46rem; margin: 0 0 .8rem }
ul { padding-left: 1.2rem } li { margin: .25rem 0 }
.soft, small { color: var(--soft) }
.wide { overflow-x: auto; margin: .8rem 0 1.2rem }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; line-height: 1.35 }
th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
thead th { font-size: .8rem; color: var(--soft); vertical-align: bottom;
  border-bottom: 2px solid var(--line) }
tbody th { font-weight: 500; position: sticky; left: 0; background: #fff; min-width: 8.5rem }
td small, th small { display: block; font-size: .75rem; font-weight: 400; white-space: pre }
.number { text-align: right; font-variant-numeric: tabular-nums }
td.number { white-space: nowrap }
.best { font-weight: 700 }
.first th, .first { font-weight: 700 }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em }
.picture { overflow-x: auto; margin: 1rem 0 }
.picture svg { display: block; width: 100%; height: auto; max-width: 38rem; min-width: 20rem }
.picture svg text { font-family: inherit !important }
img { width: 100%; max-width: 48rem; display: block; margin: 1rem 0 }
details { margin: .6rem 0 } summary { cursor: pointer; color: var(--blue) }
dt { font-weight: 600; margin-top: .6rem } dd { margin: 0; color: var(--soft) }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem } .beside .picture { flex: 1 1 34rem }
.beside .wide { flex: 0 1 26rem; min-width: 0 }
.verdict { font-size: 1.3rem; line-height: 1.35; font-weight: 600; max-width: 52rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem;
  margin: 1.2rem 0 }
.card { border: 1px solid var(--line); border-top: 4px solid var(--blue); border-radius: 6px;
  padding: 1rem 1.2rem }
.card ul { list-style: none; padding: 0; margin: .6rem 0 0 } .plain { border: 0; padding: 0 }
.plain ul { list-style: disc; padding-left: 1.1rem }
.card h3 { margin: 0; color: var(--soft) } .card p { margin: .2rem 0 .5rem }
.big { font-size: 2.2rem; font-weight: 700; line-height: 1.1; font-variant-numeric: tabular-nums }
td.good { background: #e5f3ee; color: #005c44 } td.bad { background: #fbe9df; color: #8f3b00 }
td.good small { color: #005c44 } td.bad small { color: #8f3b00 }
.code { font-family: ui-monospace, monospace; font-size: .8rem }
@media (max-width: 40rem) {
  body { padding: 1.2rem 1rem 3rem } h1 { font-size: 1.5rem } .verdict { font-size: 1.1rem }
  th, td { padding: .4rem .55rem } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt } table { font-size: 8pt }
  .picture, .card, tr, h2 { break-inside: avoid } h2, h3 { break-after: avoid }
  .wide, .picture { overflow: visible } tbody th { position: static }
  details::details-content { content-visibility: visible; block-size: auto } }
"""

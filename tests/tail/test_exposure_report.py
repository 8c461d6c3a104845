"""Tables add up, inequality is measured right, and the report is whole or not there."""

import csv
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tailrec import columns as c
from tailrec.tail.exposure_report import (
    COLOURS,
    curve_table,
    gini,
    lorenz,
    tail_table,
    write_report,
)
from tailrec.tail.segments import DEFINITIONS, is_tail

COUNTS = arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 50)).filter(np.any)
FILES = ["tail.csv", "items.csv", "rank_frequency.png", "lorenz.png", "index.html"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([3, 3, 3], 0.0), ([0, 0, 0, 8], 0.75), ([1, 2, 3, 4], 0.25), ([5], 0.0)],
)
def test_gini_of_known_distributions(counts, expected):
    assert gini(np.array(counts)) == pytest.approx(expected)


@given(COUNTS)
def test_gini_is_the_mean_difference_and_the_area_above_the_lorenz_curve(counts):
    difference = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    across, up = lorenz(counts)
    assert gini(counts) == pytest.approx(difference)
    assert gini(counts) == pytest.approx(1 - 2 * np.trapezoid(up, across))


@given(COUNTS)
def test_lorenz_curve_is_convex_from_nothing_to_all(counts):
    across, up = lorenz(counts)
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert (np.diff(up, 2) >= -1e-12).all()


def test_without_events_there_is_no_inequality_to_speak_of():
    assert np.isnan(gini(np.zeros(4, np.int64)))
    with pytest.raises(ValueError, match="4 items without any events"):
        lorenz(np.zeros(4, np.int64))


def test_tail_table_holds_every_item_and_event_once_a_definition(counted):
    counts = np.random.default_rng(3).zipf(1.7, 200) % 90
    data = counted(counts.tolist())
    table = tail_table(data)
    assert table["definition"].unique(maintain_order=True).to_list() == list(DEFINITIONS)
    for definition, rows in table.group_by("definition", maintain_order=True):
        assert rows["tier"].to_list() == list(c.TIERS)
        assert rows["items"].sum() == 200
        assert rows["events"].sum() == counts.sum()
        assert rows["items_share"].sum() == pytest.approx(1)
        assert rows["events_share"].sum() == pytest.approx(1)
        tail = is_tail(counts, definition[0]) & (counts > 0)
        assert rows["events"][2] == counts[tail].sum()
    assert table["events_per_item"].null_count() == (table["items"] == 0).sum()


def test_curve_table_falls_and_reaches_one(counted):
    table = curve_table(counted([2, 0, 7, 1]))
    assert table["item_id"].to_list() == ["i2", "i0", "i3", "i1"]
    assert table["events"].to_list() == [7, 2, 1, 0]
    assert table["events_share"].to_list() == pytest.approx([0.7, 0.9, 1.0, 1.0])
    assert table["mass"].to_list() == ["head", "middle", "tail", "cold"]


def test_report_is_whole_drawn_and_self_contained(counted, tmp_path):
    data = counted([60, 20, 9, 9, 5, 4, 3, 2, 1, 1, 1, 0])
    paths = write_report(data, tmp_path / "deep" / "report")
    assert [path.name for path in paths] == FILES
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(FILES)  # nothing left over
    page = paths[-1].read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
    assert "title &lt;0&gt;" in page
    assert "title <0>" not in page
    with paths[0].open() as lines:
        assert len(list(csv.DictReader(lines))) == len(DEFINITIONS) * len(c.TIERS)
    picture = imread(BytesIO(paths[2].read_bytes()))[..., :3]
    for tier in ("head", "middle", "tail"):
        drawn = np.abs(picture - to_rgb(COLOURS[tier])).max(-1) < 0.02
        assert drawn.sum() > 100, tier


def test_the_same_shop_gives_the_same_bytes(counted, tmp_path):
    data = counted([9, 3, 1, 1, 0])
    first = [p.read_bytes() for p in write_report(data, tmp_path / "a")]
    assert [p.read_bytes() for p in write_report(data, tmp_path / "b")] == first


def test_a_shop_without_events_changes_nothing(counted, shop, tmp_path):
    write_report(counted([3, 1]), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="2 items without any events"):
        write_report(shop(2, []), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

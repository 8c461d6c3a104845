import shutil
from collections import namedtuple
from pathlib import Path

import polars as pl
import pytest

from tailrec import columns as c
from tailrec.artifact import set_current
from tailrec.doctor import LEAST_FREE, Finding, examine
from tailrec.shop import Shop

PARTS = ["store", "data", "model", "encoder", "disk"]


def wrong(folder: Path) -> list[Finding]:
    return [finding for finding in examine(folder) if not finding.well]


def test_a_shop_that_is_well(fitted_folder: Path) -> None:
    findings = examine(fitted_folder)
    assert [finding.part for finding in findings] == PARTS
    assert all(finding.well for finding in findings)
    assert "15,845 events, 200 items, 150 users" in findings[1].says
    assert "knows 200 items" in findings[2].says
    assert "384 numbers" in findings[3].says


def test_a_new_shop_lacks_data_and_model(tmp_path: Path) -> None:
    with Shop.create(tmp_path / "shop") as shop:
        (shop.folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    found = wrong(tmp_path / "shop")
    assert [(f.part, "tailrec ingest" in f.says, "tailrec fit" in f.says) for f in found] == [
        ("data", True, False),
        ("model", False, True),
    ]
    assert Finding("encoder", True, "none is used") in examine(tmp_path / "shop")


def test_no_shop_and_a_recipe_that_cannot_be_read(tmp_path: Path, shop_folder: Path) -> None:
    (found,) = examine(tmp_path)
    assert (found.part, found.well) == ("shop", False)
    assert "tailrec init" in found.says
    (shop_folder / "tailrec.toml").write_text("[source]\nkind = 'magic'\n", "utf-8")
    (found,) = examine(shop_folder)
    assert "option source" in found.says


def test_damaged_arrays(shop_folder: Path) -> None:
    (arrays,) = shop_folder.glob("models/2*/arrays.safetensors")
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    (found,) = wrong(shop_folder)
    assert found.part == "model"
    assert "no complete model" in found.says
    # Damage that leaves size and layout as they are.
    flipped = bytearray(whole)
    flipped[-100] ^= 255
    arrays.write_bytes(flipped)
    (found,) = wrong(shop_folder)
    assert found.part == "model"
    assert "damaged" in found.says


def test_current_names_a_model_that_is_not_there(shop_folder: Path) -> None:
    set_current(shop_folder / "models", "20010101T000000")
    (found,) = wrong(shop_folder)
    assert found.part == "model"
    assert "'20010101T000000' is not in" in found.says


def test_events_of_items_without_a_row(shop: Shop) -> None:
    log = shop.store.read("events").head(400)
    lost = log.with_columns(
        (pl.col(c.ITEM_ID) + "-x").alias(c.ITEM_ID), (pl.col(c.EVENT_ID) + "-x").alias(c.EVENT_ID)
    )
    shop.store.write("events", lost)
    (found,) = wrong(shop.folder)
    assert found.part == "data"
    assert "400 events name items without a row" in found.says


def test_a_damaged_store(shop_folder: Path) -> None:
    store = shop_folder / "store.db"
    whole = store.read_bytes()
    # Pages in the middle are overwritten: the file opens, and is not intact.
    at = len(whole) // 2
    store.write_bytes(whole[:at] + b"\xff" * 32_768 + whole[at + 32_768 :])
    assert "store" in {finding.part for finding in wrong(shop_folder)}
    store.write_bytes(b"no database at all" * 1000)
    (found,) = wrong(shop_folder)
    assert "store.db" in found.says
    store.unlink()
    (found,) = wrong(shop_folder)
    assert "tailrec init" in found.says


def test_a_disk_that_is_nearly_full(fitted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, LEAST_FREE - 1))
    (found,) = wrong(fitted_folder)
    assert found.part == "disk"
    assert "make room" in found.says


def test_one_fault_does_not_hide_another(shop_folder: Path) -> None:
    set_current(shop_folder / "models", "none")
    (shop_folder / "tailrec.toml").write_text("[features.text]\nmodel = 'no/such-model'\n", "utf-8")
    assert [finding.part for finding in wrong(shop_folder)] == ["model", "encoder"]

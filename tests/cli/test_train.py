"""Encoders are trained from the command line, and what serves the shop reads with them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from tests.training.tiny import tiny_encoder

Run = Callable[..., Result]
Asks = Callable[..., Any]

COLOURS = (
    *("red", "blue", "green", "black", "white", "pink", "grey", "brown"),
    *("gold", "teal", "navy", "plum", "rose", "lime", "sand", "ruby"),
)
THINGS = (
    *("lamp", "mug", "rug", "vase", "bowl", "tray", "clock"),
    *("box", "jar", "pot", "plate", "cup", "fan"),
)
RECIPE = """\
# Ours.
[features.text]
model = "encoders/tiny"  # two layers
form = "fp32"

[train.pretrain]
model = "encoders/tiny"

[train.finetune]
model = "encoders/tiny"
batch = 16

[train.finetune.course]
steps = 30
rate = 5e-3
check_every = 10
device = "cpu"
"""
VARIED = """
keep_every = 5

[train.finetune.adapt]
kind = "lora"

[train.finetune.augment]
word_drop = 0.3
descriptions = 2
"""
TRAIN = """
import signal
import sys

from tailrec.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["tailrec", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A shop of coloured things: people buy red with blue, and green with black, and so on."""
    shop = tmp_path_factory.mktemp("shops") / "colours"
    run("init", shop)
    items = [
        {"item_id": f"{colour}-{thing}", "title": f"{colour} {thing}"}
        for colour in COLOURS
        for thing in THINGS
    ]
    events = [
        {
            "user_id": f"u{person}",
            "item_id": items[person % 8 * 26 + (person * 5 + step * 7) % 26]["item_id"],
            "type": "purchase",
            "timestamp": f"2024-0{1 + step}-{1 + person % 28:02}T{person % 24:02}:00:00",
        }
        for person in range(160)
        for step in range(6)
    ]
    for name, rows in (("items", items), ("events", events)):
        pl.DataFrame(rows).write_csv(shop / f"{name}.csv")
        result = run("ingest", name, shop / f"{name}.csv", "--shop", shop)
        assert result.exit_code == 0, result.stderr
    tiny_encoder([*COLOURS, *THINGS], shop / "encoders" / "tiny")
    (shop / "tailrec.toml").write_text(RECIPE, "utf-8")
    return shop


def test_an_encoder_is_trained_named_fitted_and_served(ask: Asks, folder: Path) -> None:
    told = ask("train", "finetune", "--shop", folder, "--write")
    assert told["steps"] == 30
    assert told["held_out"]["tail recall@20"] >= 0
    assert (folder / told["encoder"] / "modules.json").is_file()
    text = (folder / "tailrec.toml").read_text("utf-8")
    assert f'model = "{told["encoder"]}"  # two layers' in text
    assert text.startswith("# Ours.")
    ask("fit", "--shop", folder)
    slates = ask("recommend", "--shop", folder, "--user", "u1", "-k", "3")
    assert slates
    run_folder = Path(told["run"])
    curve = [json.loads(line) for line in (run_folder / "curve.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in curve) == 30
    assert (run_folder / "curve.png").stat().st_size > 1000
    assert list((run_folder / "tensorboard").iterdir())


def test_the_same_command_finds_its_run_done(ask: Asks, folder: Path) -> None:
    one = ask("train", "finetune", "--shop", folder)
    before = (Path(one["run"]) / "checkpoint.safetensors").stat().st_mtime_ns
    other = ask("train", "finetune", "--shop", folder)
    assert other["encoder"] == one["encoder"]
    assert (Path(one["run"]) / "checkpoint.safetensors").stat().st_mtime_ns >= before
    third = ask("train", "finetune", "--shop", folder, "--seed", "4")
    assert third["encoder"] != one["encoder"]


def test_an_encoder_that_saw_the_test_is_not_evaluated(run: Run, ask: Asks, folder: Path) -> None:
    ask("train", "finetune", "--shop", folder, "--everything", "--write")
    result = run("evaluate", "--shop", folder, "--split", "time", "--windows", "1")
    assert result.exit_code == 2
    assert "its figures would mean nothing" in result.stderr
    ask("train", "finetune", "--shop", folder, "--write")
    found = ask("evaluate", "--shop", folder, "--split", "time", "--windows", "1")
    assert found


def test_it_goes_on_with_what_happened_since(run: Run, ask: Asks, folder: Path) -> None:
    first = ask("train", "finetune", "--shop", folder)
    on = ("train", "finetune", "--shop", folder, "--continue", "--model", first["encoder"])
    result = run(*on)
    assert result.exit_code == 2
    assert "nothing happened since" in result.stderr
    told = ask(*on, "--everything")
    assert len(told["learnt"]) == 2
    result = run("train", "finetune", "--shop", folder, "--continue", "--model", "encoders/tiny")
    assert result.exit_code == 2
    assert "has learnt no behaviour of this shop" in result.stderr


def test_pretraining_and_both_ways_to_make_it_small(ask: Asks, folder: Path) -> None:
    told = ask("train", "pretrain", "--shop", folder, "--steps", "4")
    assert told["kind"] == "pretrain"
    assert told["steps"] == 4
    small = ask("train", "distil", "--shop", folder, "--steps", "4", "--layers", "1")
    assert small["kind"] == "distil"
    static = ask("train", "distil", "--shop", folder, "--into", "static")
    assert static["kind"] == "static"
    for made in (told, small, static):
        assert (folder / made["encoder"] / "modules.json").is_file()


def test_a_search_goes_on_and_is_written(ask: Asks, folder: Path) -> None:
    words = ("train", "search", "--shop", folder, "--budget", "0s")
    first = ask(*words)
    assert len(first["tried"]) == 1
    again = ask(*words, "--write")
    assert again["best"]["options"] == first["best"]["options"]
    assert f"batch = {first['best']['options']['batch']}" in (folder / "tailrec.toml").read_text()


def test_ctrl_c_leaves_a_run_that_goes_on(folder: Path) -> None:
    words = ["train", "finetune", "--shop", str(folder), "--steps", "5000", "--seed", "9"]
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, *words, "--json"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    runs = folder / "runs"
    known = set(runs.iterdir())
    while process.poll() is None:
        new = [one for one in set(runs.iterdir()) - known if (one / "curve.jsonl").exists()]
        if new and (new[0] / "curve.jsonl").read_text().count("\n") > 5:
            break
        sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert (new[0] / "checkpoint.safetensors").exists()


def test_a_run_on_varied_texts_that_was_killed_goes_on(
    ask: Asks, folder: Path, tmp_path: Path
) -> None:
    words = ("train", "finetune", "--steps", "150", "--shop")
    told = []
    for name in ("whole", "killed"):
        shop = shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("runs"))
        (shop / "tailrec.toml").write_text(RECIPE + VARIED, "utf-8")
        if name == "killed":
            process = subprocess.Popen(
                [sys.executable, "-c", TRAIN, *words, str(shop)], stderr=subprocess.DEVNULL
            )
            curves = shop / "runs"
            while process.poll() is None:
                if any(c.read_text().count("\n") > 20 for c in curves.glob("*/curve.jsonl")):
                    break
                sleep(0.02)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        told.append(ask(*words, shop))
    whole, killed = (Path(one["run"]) for one in told)
    assert whole.name == killed.name
    assert (whole / "curve.jsonl").read_text() == (killed / "curve.jsonl").read_text()
    weights = [next((run / "encoder").glob("**/model.safetensors")) for run in (whole, killed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_texts_that_cannot_be_varied_are_told_in_one_line(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    shop = shutil.copytree(folder, tmp_path / "shop")
    for augment, said in {
        'back_translation = ["models/there", "models/back"]': "model 'models/there' cannot be",
        "synonyms = 0.3": "titles of this shop teach none; set synonyms to 0",
    }.items():
        varied = VARIED.replace("word_drop = 0.3\ndescriptions = 2", augment)
        (shop / "tailrec.toml").write_text(RECIPE + varied, "utf-8")
        result = run("train", "finetune", "--shop", shop)
        assert result.exit_code == 2
        assert said in result.stderr
    (shop / "tailrec.toml").write_text(RECIPE + VARIED.replace("lora", "map"), "utf-8")
    result = run("train", "finetune", "--shop", shop)
    assert result.exit_code == 2
    assert "`augment` varies texts, and adapt.kind = 'map' learns from vectors" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("finetune", "--model", "encoders/none"), "encoder 'encoders/none' is not there"),
        (("finetune", "--adapt", "some"), "some"),
        (("distil", "--layers", "9"), "9"),
        (("distil", "--into", "static", "--steps", "5"), "option steps"),
        (("search", "--budget", "soon"), "soon"),
    ],
)
def test_bad_words_are_told_in_one_line(
    run: Run, folder: Path, words: tuple[str, ...], said: str
) -> None:
    result = run("train", words[0], "--shop", folder, *words[1:])
    assert result.exit_code == 2
    assert said in result.stderr

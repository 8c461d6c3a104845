import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]
QUICK = ("--draws", "50", "--requests", "100")


def test_all_of_it_as_json_with_files(ask: Asks, fitted_folder: Path, tmp_path: Path) -> None:
    words = ("frontier", "--shop", fitted_folder, *QUICK)
    told = ask(*words, "--report", tmp_path / "report")
    assert {setting["knob"] for setting in told["settings"]} == {"tail", "diversity", "exposure"}
    asked = {(answer["question"], answer["wanted"]) for answer in told["answers"]}
    assert asked == {("more", 0.2), ("at_most", 0.01)}
    assert told["written"] is None
    assert told["draws"] == 50
    assert [Path(file).suffix for file in told["files"]] == [".png", ".csv", ".html"]
    assert all(Path(file).stat().st_size for file in told["files"])
    assert not (fitted_folder / "reports").exists()


def test_tables_and_answers_for_people(run: Run, fitted_folder: Path) -> None:
    words = ("frontier", "--shop", fitted_folder, "--knobs", "exposure", *QUICK)
    shown = run(*words, "--more", "5%", "--at-most", ".5")
    assert shown.exit_code == 0, shown.stderr
    text = shown.stdout
    assert text.startswith("validation, not test:")
    for word in ("tail exposure@20", "plain", "exposure 0.0025", "exposure 0.2"):
        assert word in text
    assert "tail 0.1" not in text
    assert "What does 5 % more tail exposure cost?" in text
    assert "What does at most 50 % of NDCG@10 buy?" in text
    _, _, by_hand = text.partition("exposure is written by hand:\n")
    assert tomllib.loads(by_hand)["exposure"]["cost"] == 0.2


def test_one_question_alone(ask: Asks, fitted_folder: Path) -> None:
    words = ("frontier", "--shop", fitted_folder, "--knobs", "tail", *QUICK)
    (more,) = ask(*words, "--more", "0.1")["answers"]
    assert (more["question"], more["wanted"], more["knob"]) == ("more", 0.1, "tail")
    (least,) = ask(*words, "--at-most", "30 %")["answers"]
    assert (least["question"], least["wanted"]) == ("at_most", 0.3)


def test_the_setting_found_is_written_and_the_shop_opens_with_it(
    run: Run, ask: Asks, shop_folder: Path
) -> None:
    path = shop_folder / "tailrec.toml"
    path.write_text('# Ours.\n[slate]\ndiversity = 0.2  # dear\n[source]\nkind = "linear"\n')
    words = ("frontier", "--shop", shop_folder, "--knobs", "tail", *QUICK, "--at-most", "30%")
    told = ask(*words, "--write", "tail")
    (answer,) = told["answers"]
    assert told["written"] == {"tail": answer["setting"]["value"]}
    text = path.read_text("utf-8")
    assert text.startswith("# Ours.\n[slate]\ndiversity = 0.2  # dear\n")
    assert tomllib.loads(text)["slate"] == {"diversity": 0.2, **told["written"]}
    with Shop.open(shop_folder) as shop:
        assert shop.recipe.slate.tail == told["written"]["tail"] > 0
    said = run(*words, "--write", "tail").stdout
    assert f"now has tail = {told['written']['tail']:g}; it has diversity = 0.2, too" in said
    assert path.read_text("utf-8") == text


def test_nothing_is_written_where_a_knob_buys_nothing(
    run: Run, ask: Asks, shop_folder: Path
) -> None:
    before = (shop_folder / "tailrec.toml").read_text("utf-8")
    # With a loss of next to nothing allowed, nothing is bought.
    words = ("frontier", "--shop", shop_folder, "--knobs", "diversity", *QUICK)
    told = ask(*words, "--at-most", "0.000001", "--write", "diversity")
    (answer,) = told["answers"]
    after = (shop_folder / "tailrec.toml").read_text("utf-8")
    assert not answer["met"]
    assert told["written"] is None
    assert after == before
    said = run(*words, "--at-most", "0.000001", "--write", "diversity").stdout
    assert "stays as it is: diversity buys nothing at that cost" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--more", "lots"), "--more 'lots' is no share; write 20% or 0.2"),
        (("--at-most", "-1%"), "--at-most '-1%' is no share"),
        (("--more", "20"), "must be above 0 and no more than 1000%"),
        (("--at-most", "100%"), "between 0 and 100%"),
        (("--knobs", "volume"), "knob 'volume' is not known; there are tail, diversity, exposure"),
        (("--knobs", ""), "0 knobs"),
        (("--write", "exposure"), "put cost = X under [exposure]"),
        (("--write", "volume"), "'volume' cannot be written; it must be tail or diversity"),
        (("--write", "tail", "--knobs", "exposure"), "--write tail needs tail among --knobs"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, fitted_folder: Path, words: tuple[str, ...], says: str
) -> None:
    result = run("frontier", "--shop", fitted_folder, *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_shop_is_one_line(run: Run, tmp_path: Path) -> None:
    assert run("init", tmp_path / "new").exit_code == 0
    result = run("frontier", "--shop", tmp_path / "new")
    assert result.exit_code == 2
    assert "has no events that count as history" in result.stderr

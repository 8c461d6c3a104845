from pathlib import Path

import pytest

from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.popular import Popular
from tailrec.engine import AnySource
from tailrec.errors import RecipeError
from tailrec.shop_recipe import NEW_SHOP, ShopRecipe, write_source

OWN = """\
# ours
keep = 0.99
[source]
kind = "linear"
recall = 0.85  # tried by hand
half_life_days = 30
[features]
encode = false
"""


@pytest.mark.parametrize(
    "source",
    [
        Linear(),
        Linear(recall=0.9, ridge=33.3),
        Linear(half_life_days=3),
        Ease(),
        Ease(decay=0.8),
        Popular(half_life_days=12),
        Popular(),
    ],
)
@pytest.mark.parametrize("text", [OWN, NEW_SHOP, ""])
def test_a_source_is_put_into_a_recipe(source: AnySource, text: str, tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text(text, "utf-8")
    before = ShopRecipe.load(path)
    after = write_source(path, source)
    assert after == ShopRecipe.load(path)
    assert after.source == source
    assert after.model_copy(update={"source": before.source}) == before
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")] == (
        comments
    )


def test_defaults_are_written_only_over_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text(OWN, "utf-8")
    write_source(path, Linear(ridge=50))
    expected = OWN.replace("0.85", "0.7").replace("half_life_days = 30\n", "ridge = 50.0\n")
    assert path.read_text("utf-8") == expected


def test_a_bad_recipe_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    for text, says in [
        ("[source]\nlambda = 3\n", "lambda"),
        ("[source", "cannot be read as TOML"),
        ("source = {kind = 'linear'}\n", "cannot be changed line by line"),
    ]:
        path.write_text(text, "utf-8")
        with pytest.raises(RecipeError, match=says):
            write_source(path, Ease())
        assert path.read_text("utf-8") == text

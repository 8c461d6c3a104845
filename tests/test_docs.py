"""The documentation says what the code does: options, defaults, commands, links, recipes."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.main import get_command

from tailrec.cli import app
from tailrec.engine import AnySource
from tailrec.shop_recipe import ShopRecipe
from tailrec.simulate import Simulation

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
COMMON = {"--shop", "--json"}
"""Options of many commands, documented once."""
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
SOURCES: tuple[type[BaseModel], ...] = get_args(get_args(AnySource)[0])


def written(value: object) -> str:
    """A default as the pages write it: as in a TOML file, on one line; `none` where it is None."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(part.kind for part in value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return json.dumps(value)


def tables_of(recipe: BaseModel, place: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Every table of a recipe file: its heading in recipe.md, and its options with defaults."""
    own = {}
    for name in type(recipe).model_fields:
        value = getattr(recipe, name)
        if name == "source":
            for source in SOURCES:
                kind = source().kind  # type: ignore[attr-defined]
                yield f"[source], kind {kind}", defaults_of(source)
                for part, inner in parts_of(source()).items():
                    yield f"[source.{part}], kind {kind}", defaults_of(inner)
        elif isinstance(value, BaseModel):
            yield from tables_of(value, f"{place}.{name}".lstrip("."))
        else:
            own[name] = written(value)
    yield f"[{place}]" if place else "at the top", own


def defaults_of(recipe: type[BaseModel] | BaseModel) -> dict[str, str]:
    """Options of one recipe with their defaults, but for those that are tables."""
    if isinstance(recipe, BaseModel):
        defaults = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    else:
        fields = recipe.model_fields.items()
        defaults = {name: field.get_default(call_default_factory=True) for name, field in fields}
    assert PydanticUndefined not in defaults.values()
    own = {name: value for name, value in defaults.items() if not isinstance(value, BaseModel)}
    return {name: written(value) for name, value in own.items()}


def parts_of(recipe: BaseModel) -> dict[str, BaseModel]:
    """Options of a recipe that are tables."""
    values = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, BaseModel)}


def sections(page: Path) -> dict[str, str]:
    """Text below each heading of the second level, by the heading without its backticks."""
    parts = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip((head.replace("`", "") for head in parts[1::2]), parts[2::2], strict=True))


def rows(text: str) -> dict[str, str]:
    """First two cells of table rows whose first cell is code."""
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \|", text, flags=re.MULTILINE)
    return {name: cell.strip("`") for name, cell in found}


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), flags=re.M | re.S)


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def in_words(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("heading", "options"), dict(tables_of(ShopRecipe())).items())
def test_recipe_options_are_documented_with_their_defaults(
    heading: str, options: dict[str, str]
) -> None:
    found = sections(DOCS / "recipe.md")
    assert heading in found, f"docs/recipe.md has no section '## {heading}'"
    assert rows(found[heading]) == options


def test_every_source_has_its_section() -> None:
    told = {head for head in sections(DOCS / "recipe.md") if head.startswith("[source],")}
    assert told == {f"[source], kind {s().kind}" for s in SOURCES}  # type: ignore[attr-defined]


def test_options_of_the_simulation_are_documented() -> None:
    assert rows((DOCS / "simulate.md").read_text("utf-8")) == defaults_of(Simulation)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_documented(name: str) -> None:
    found = sections(DOCS / "cli.md")
    assert name in found, f"docs/cli.md has no section '## {name}'"
    words = [p for p in COMMANDS[name].params if p.param_type_name == "argument"]
    for argument in words:
        assert (argument.metavar or argument.name).upper() in found[name].upper()
    assert set(rows(found[name])) == options_of(name) - COMMON


def options_of(command: str) -> set[str]:
    """Options a command has, or the commands below it."""
    below = getattr(COMMANDS[command], "commands", {}).values()
    params = [p for each in (COMMANDS[command], *below) for p in each.params]
    return {name for p in params if p.param_type_name == "option" for name in p.opts}


@pytest.mark.parametrize("page", PAGES, ids=in_words)
def test_examples_use_commands_and_options_that_exist(page: Path) -> None:
    for block in blocks(page, "(?:sh|console)"):
        lines = block.replace("\\\n", " ").splitlines()
        for line in (line.removeprefix("$ ") for line in lines):
            if line.startswith("tailrec "):
                command, *words = shlex.split(line, comments=True)[1:]
                assert command in COMMANDS, line
                given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
                assert given <= options_of(command), line


@pytest.mark.parametrize("page", PAGES, ids=in_words)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{in_words(page)} links to {link}, which is not there"
        assert not anchor or anchor in slugs(target), f"{in_words(page)}: no heading for {link}"


@pytest.mark.parametrize("page", PAGES, ids=in_words)
def test_recipes_shown_are_recipes(page: Path) -> None:
    for block in blocks(page, "toml"):
        values: dict[str, Any] = tomllib.loads(block)
        ShopRecipe.parse(values, origin=in_words(page))


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert name == "README.md" or f"({name})" in index, f"docs/README.md does not list {name}"

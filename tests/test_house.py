"""The house keeps its shape: who may import whom, how large things grow, what is documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tailrec"
STEPS = (
    (
        "errors",
        "files",
        "columns",
        "items",
        "hits",
        "dataset",
        "protocols",
        "artifact",
        "cost",
        "pages",
        "kernels",
        "journal",
    ),
    ("recipe", "recipe_file", "wire"),
    ("data",),
    ("tail",),
    ("features",),
    ("training",),
    ("graph",),
    ("candidates", "ranking", "reranking", "evaluation"),
    ("mixture",),
    ("engine",),
    ("tuning", "teaching", "updating"),
    ("contender",),
    ("verdicts",),
    ("comparison",),
    ("fair_view",),
    ("search", "person", "arrange"),
    ("looks",),
    ("model", "shop_recipe"),
    ("assortment", "frontier"),
    ("steering",),
    ("shop",),
    ("slates", "doctor", "shop_training"),
    ("batch",),
    ("insight", "assistant"),
    ("simulate",),
    ("demo",),
    ("distributed", "client"),
    ("serving",),
    ("settings",),
    ("dashboard", "cli", "testing"),
    ("__main__",),
)
STEP_OF = {room: step for step, rooms in enumerate(STEPS) for room in rooms}
ONLY_IN = {
    "torch": {"features", "training", "candidates", "ranking", "assistant"},
    "transformers": {"features", "training", "candidates", "ranking", "assistant"},
    "sentence_transformers": {"features", "training", "candidates", "ranking", "assistant"},
    "accelerate": {"training"},
    "peft": {"training"},
    "opacus": {"training"},
    "tensorboard": {"training"},
    "wandb": {"training"},
    "fastapi": {"serving"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "faststream": {"serving"},
    "sqlalchemy": {"data"},
    "typer": {"cli"},
    "rich": {"cli"},
}
MAX_FILE_LINES = 500
MAX_BODY_LINES = 40
MAX_POSITIONAL = 5
MAX_DEPTH = 2

FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def module_of(path: Path) -> str:
    """`data.store` for src/tailrec/data/store.py; a room's __init__ counts as the room."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(module: str) -> str:
    """The first name of a module, which places it in the order."""
    first = module.split(".")[0]
    return re.sub(r"^(simulate|tuning|comparison|client|frontier|wire)_.*", r"\1", first)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, those inside functions included: line, dotted name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; name the module whole"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def own_imports(path: Path) -> set[str]:
    """Modules of tailrec that a file imports, as `room.file`."""
    modules = {module_of(file) for file in FILES}
    found = set()
    for _, name in imports_of(path):
        inner = name.removeprefix("tailrec.")
        if inner != name:
            parent = inner.rpartition(".")[0]
            found.update({inner, parent} & modules)
    return found


def functions_of(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Functions and methods of a file, and whether each is public and at module or class level."""
    tree = ast.parse(path.read_text("utf-8"))
    for owner in ast.walk(tree):
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                outer = isinstance(owner, ast.Module) or (
                    isinstance(owner, ast.ClassDef) and not owner.name.startswith("_")
                )
                yield node, outer and not node.name.startswith("_")


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Compiled kernels take plain arrays, untyped: numba infers, and cannot bundle cheaply."""
    return any("njit" in ast.unparse(mark) for mark in node.decorator_list)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(module_of(path))
    assert room in STEP_OF, f"{path} stands in no room of the house"
    for module in own_imports(path):
        other = room_of(module)
        earlier = STEP_OF[other] < STEP_OF[room]
        ground = STEP_OF[other] == STEP_OF[room] == 0
        assert other == room or earlier or ground, f"{module_of(path)} imports {module}"


def test_no_import_cycles() -> None:
    graph = {module_of(path): own_imports(path) - {module_of(path)} for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module not in done:
            for other in graph.get(module, set()):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_heavy_packages_stay_in_their_rooms(path: Path) -> None:
    for line, name in imports_of(path):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or room_of(module_of(path)) in rooms, f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        text = path.read_text("utf-8")
        assert not re.search(r"\bos\.(environ|getenv)\b", text), f"{path} reads the environment"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_budgets(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    assert lines <= MAX_FILE_LINES, f"{path} has {lines} lines"
    assert len(path.relative_to(SOURCE).parts) <= MAX_DEPTH
    for node, _ in functions_of(path):
        assert body_lines(node) <= MAX_BODY_LINES, f"{path}:{node.lineno} {node.name} is too long"
        own = [
            a.arg for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")
        ]
        assert is_kernel(node) or len(own) <= MAX_POSITIONAL, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_public_names_are_typed_and_documented(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"
    for function, public in functions_of(path):
        if public and not is_kernel(function):
            where = f"{path}:{function.lineno} {function.name}"
            assert ast.get_docstring(function), f"{where} has no docstring"
            assert function.returns is not None, f"{where} has no return type"
            arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            untyped = [a.arg for a in arguments if a.annotation is None]
            assert set(untyped) <= {"self", "cls"}, f"{where} leaves {untyped} untyped"


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    """A planted import inside a function is found, and a long body is counted."""
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from tailrec.engine import Engine\n    return Engine\n")
    assert [name for _, name in imports_of(planted)] == ["tailrec.engine.Engine"]
    (node, public), *_ = functions_of(planted)
    assert public
    assert body_lines(node) == 2

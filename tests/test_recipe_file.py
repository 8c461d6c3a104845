import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.errors import RecipeError
from tailrec.recipe_file import replace_table, with_table

FILE = """\
# The shop's own remarks.
tail = "mass"   # wider

[source]  # chosen in March
# the core model
kind = "linear"
ridge = 100     # λ
  words = 6.0

# recall = 0.9
[histories]
repeats = "last"
"""


def test_only_what_changes_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text(FILE, "utf-8")
    replace_table(path, "source", {"kind": "linear", "ridge": 245.7, "words": 6, "text": 0.4})
    assert path.read_text("utf-8") == FILE.replace("100 ", "245.7 ").replace(
        "  words = 6.0\n", "  words = 6.0\ntext = 0.4\n"
    )
    # An option that is gone takes its line with it, and no other.
    replace_table(path, "source", {"kind": "ease"})
    assert path.read_text("utf-8") == FILE.replace('"linear"', '"ease"').replace(
        "ridge = 100     # λ\n  words = 6.0\n", ""
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_the_file_lacks_is_added(tmp_path: Path) -> None:
    for before, after in [
        ("", '[source]\nkind = "ease"\n'),
        ('tail = "mass"', 'tail = "mass"\n\n[source]\nkind = "ease"\n'),
        ("[store]\n# nothing\n", '[store]\n# nothing\n\n[source]\nkind = "ease"\n'),
        ("[source]", '[source]\nkind = "ease"\n'),
        ("[source]\r\n# of windows\r\n", '[source]\r\nkind = "ease"\r\n# of windows\r\n'),
    ]:
        assert with_table(before, "source", {"kind": "ease"}) == after
        path = tmp_path / "tailrec.toml"
        path.write_bytes(before.encode())
        replace_table(path, "source", {"kind": "ease"})
        assert path.read_bytes() == after.encode()


def test_a_file_that_stays_as_it_is_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text(FILE, "utf-8")
    before = path.stat()
    replace_table(path, "source", {"kind": "linear", "ridge": 100.0, "words": 6})
    assert path.stat().st_ino == before.st_ino
    assert path.read_text("utf-8") == FILE


def test_links_and_rights_stay(tmp_path: Path) -> None:
    real = tmp_path / "shared.toml"
    real.write_text(FILE, "utf-8")
    real.chmod(0o640)
    link = tmp_path / "tailrec.toml"
    link.symlink_to(real)
    replace_table(link, "source", {"kind": "ease"})
    assert link.is_symlink()
    assert tomllib.loads(real.read_text("utf-8"))["source"] == {"kind": "ease"}
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    [
        'source = {kind = "linear"}\n',
        'source.kind = "linear"\n',
        '["source"]\nkind = "linear"\n',
        '[source]\n"kind" = "linear"\n',
        '[source]\nkind = "linear"\nremark = """\nkind = 3\n"""\n',
        '[source]\nkind = "linear"\nwindows = [\n  1,\n]\n',
        'remark = """\n[source]\n"""\n[source]\nkind = "linear"\n',
        "[source\n",
    ],
)
def test_a_form_that_cannot_be_changed_line_by_line_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tailrec.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"\[source\] cannot be changed line by line.*'ease'"):
        replace_table(path, "source", {"kind": "ease", "decay": 0.5})
    assert path.read_text("utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


OPTIONS = st.dictionaries(
    st.sampled_from(["kind", "ridge", "words", "text", "on"]),
    st.one_of(st.integers(-9, 9), st.floats(-1e9, 1e9), st.booleans(), st.just("linear")),
)


@given(before=OPTIONS, after=OPTIONS, remark=st.text("ab[]=\"'# ", max_size=12))
def test_whatever_is_asked_for_is_there_afterwards(
    before: dict[str, object], after: dict[str, object], remark: str
) -> None:
    lines = [f"# {remark}", "[a]", "x = 1", "[source]", f"# {remark}"]
    text = with_table("\n".join(lines), "source", before) + f"\n# {remark}\n[b]\n"
    assert tomllib.loads(text) == {"a": {"x": 1}, "source": before, "b": {}}
    changed = with_table(text, "source", after)
    assert tomllib.loads(changed) == {"a": {"x": 1}, "source": after, "b": {}}
    assert changed.count(f"# {remark}\n") == text.count(f"# {remark}\n")

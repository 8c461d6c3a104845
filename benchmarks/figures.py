"""The page of figures, docs/figures.md, from the stored results.

``python benchmarks/figures.py`` writes it and the table of the README (between its marks);
``--check`` only says whether they are as the results have them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tailrec.comparison_words import SIGNS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "figures.md"
README = HERE.parent / "README.md"
MARKS = ("<!-- figures: made by benchmarks/figures.py -->", "<!-- end of figures -->")
ORDER = ("beauty", "sports", "retail", "journey", "lastfm")
HEAD = """# Figures

Made by `python benchmarks/figures.py` from the stored results in `benchmarks/results`; each of
those by one command, `python benchmarks/compare.py --only SET --budget BUDGET`: a shop from the
raw files, every contender tuned for as long on validation, all on the same test
([evaluation.md](evaluation.md) is the protocol, [metrics.md](metrics.md) the metrics). Whole
catalogue ranked; tail = the least popular 80 % of the items, found in the same slates. In
brackets behind ratios 95 % intervals over people. ▲ better, △ better but not surely with so many
questions asked, = not told apart, ▽ ▼ worse.

`linear` starts from the recipe in `benchmarks/sets.py` where there is one (the Amazon sets;
chosen on their validation), the others from their defaults; `popular` has nothing to search.
Slates of other libraries (`rectools-sasrec`, `implicit-bpr`, `lenskit-itemknn`) were made in
their own environments on the exported splits (`benchmarks/peers`): a minute of search each, half
a minute on completejourney, and 25 to 36 minutes for SASRec on the Amazon sets. Seconds and
memory are those of their own process. Absolute times are of two shared cores and mean little;
orders of magnitude do.
"""


def fitting(figures: dict[str, Any], name: str) -> str:
    """A figure as tables have it: four digits; nothing where there is none."""
    value = figures.get(name)
    return "" if value is None else f"{value:.4f}"


def names_of(result: dict[str, Any]) -> dict[str, str]:
    """Figures of the main table and what they are called."""
    short, long = result["at"][0], result["at"][-1]
    return {
        f"recall@{short}": f"Recall@{short}",
        f"ndcg@{short}": f"NDCG@{short}",
        f"recall@{long}/pareto": f"tail Recall@{long}",
        f"ndcg@{short}/pareto": f"tail NDCG@{short}",
        f"recall@{long}/cold": f"cold Recall@{long}",
        f"coverage@{long}": f"coverage@{long}",
    }


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def best_first(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Contenders by NDCG, the best first."""
    name = f"ndcg@{result['at'][0]}"
    return sorted(result["contenders"], key=lambda one: -one["figures"][name])


def main_table(result: dict[str, Any]) -> str:
    """Contenders and their figures, the best of each column in bold."""
    names = names_of(result)
    known = {n: [c["figures"][n] for c in result["contenders"] if n in c["figures"]] for n in names}
    names = {name: called for name, called in names.items() if known[name]}
    first = result["contenders"][0]["name"]
    rows = []
    for one in best_first(result):
        cells = [f"**{one['name']}**" if one["name"] == first else one["name"]]
        for name in names:
            cell = fitting(one["figures"], name)
            best = cell and one["figures"][name] == max(known[name]) > 0
            cells.append(f"**{cell}**" if best else cell)
        rows.append(cells)
    return table(["", *names.values()], rows)


def verdict_table(result: dict[str, Any]) -> str:
    """The first contender beside each other one."""
    names = {n: c for n, c in names_of(result).items() if not n.startswith("coverage")}
    told = {(v["other"], v["figure"]): v for v in result["verdicts"]}
    others = [one["name"] for one in best_first(result) if any(one["name"] == o for o, _ in told)]
    rows = [[other, *(verdict(told.get((other, name))) for name in names)] for other in others]
    return table([f"{result['contenders'][0]['name']} over", *names.values()], rows)


def verdict(one: dict[str, Any] | None) -> str:
    """A verdict in a cell."""
    if one is None:
        return ""
    if one["ratio"] is None:
        why = "neither finds any" if one["p_holm"] is None else "the other finds none"
        return f"{SIGNS[one['verdict']]} ({why})"
    # JSON has no infinity: draws in which the other found nothing.
    low, mid, high = (
        "∞" if one["ratio"][name] is None else f"{one['ratio'][name]:.2f}"
        for name in ("low", "mid", "high")
    )
    return f"{SIGNS[one['verdict']]} {mid} ({low}–{high})"


def cost_table(result: dict[str, Any]) -> str:
    """Minutes, slates a second and memory."""
    rows = []
    for one in best_first(result):
        costs = one["costs"]
        minutes = [costs.get(name) for name in ("search_seconds", "fit_seconds")]
        slate, peak = costs.get("slate_seconds"), costs.get("peak_bytes")
        rows.append(
            [
                one["name"],
                *("" if value is None else f"{value / 60:.2f}" for value in minutes),
                "" if not slate else f"{1 / slate:,.0f}",
                "" if peak is None else f"{peak / 2**30:.2f}",
            ]
        )
    return table(["", "search, min", "fit, min", "slates/s", "peak GiB"], rows)


def section(name: str, result: dict[str, Any]) -> str:
    """All of one data set."""
    splits = result["splits"]
    sizes = (
        f"{sum(s['n_requests'] for s in splits):,} requests, {splits[-1]['n_items']:,} items, "
        f"{splits[-1]['n_events']:,} events to learn from, {len(splits)} "
        f"split{'s' if len(splits) > 1 else ''}"
    )
    goal = result["goal"]
    rule = f"{result['budget_seconds']:.0f} s of search a contender and split, keep {goal['keep']}"
    versions = ", ".join(f"{n} {v}" for n, v in result["versions"].items())
    fingerprints = ", ".join(split["fingerprint"] for split in splits)
    return "\n".join(
        (
            f"## {result['title']}\n",
            f"{sizes}; {rule}. {statement(result)}\n",
            main_table(result),
            verdict_table(result),
            "Cost, mean times and the highest peak:\n",
            cost_table(result),
            f"Stored in `benchmarks/results/{name}.json`; splits {fingerprints}; {versions}.\n",
        )
    )


def statement(result: dict[str, Any]) -> str:
    """Whether the first contender is first, plainly."""
    first = result["contenders"][0]["name"]
    short, long = result["at"][0], result["at"][-1]
    parts = []
    for figure, where in ((f"ndcg@{short}", "Overall"), (f"recall@{long}/pareto", "On the tail")):
        own = [v for v in result["verdicts"] if v["figure"] == figure]
        if not own:
            continue
        short_of = [v["other"] for v in own if v["verdict"] != "better"]
        parts.append(
            f"{where}, `{first}` is surely ahead of all others"
            if not short_of
            else f"{where}, `{first}` is not surely ahead of {', '.join(short_of)}"
        )
    return "; ".join(parts).replace("; O", "; o") + "."


def page(results: dict[str, dict[str, Any]]) -> str:
    """All of docs/figures.md."""
    return "\n".join((HEAD, *(section(name, result) for name, result in results.items())))


def summary(results: dict[str, dict[str, Any]]) -> str:
    """The tables of the README."""
    parts = []
    for result in results.values():
        parts += [f"**{result['title']}.** {statement(result)}\n", main_table(result)]
    return "\n".join(parts)


def with_summary(readme: str, text: str) -> str:
    """The README with its tables anew."""
    before, _, rest = readme.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"


def main() -> None:
    """Write both, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    paths = {name: RESULTS / f"{name}.json" for name in ORDER}
    results = {n: json.loads(p.read_text("utf-8")) for n, p in paths.items() if p.exists()}
    readme = README.read_text("utf-8")
    made = {PAGE: page(results), README: with_summary(readme, summary(results))}
    stale = [path for path, text in made.items() if path.read_text("utf-8") != text]
    if given.check:
        sys.exit(f"not as the results have them: {', '.join(map(str, stale))}" if stale else 0)
    for path, text in made.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

"""What cleaning may do (the recipe) and what it did (the report)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final, Literal, Self

from pydantic import Field, field_validator

from tailrec.columns import EVENT_TYPES
from tailrec.recipe import Recipe

RuleName = Literal[
    "duplicates",
    "types",
    "times",
    "items",
    "products",
    "text",
    "prices",
    "titles",
    "users",
    "cancellations",
    "quantities",
    "bots",
    "keys",
]
TimeFormat = Literal[
    "", "iso", "month-first", "day-first", "words", "epoch-s", "epoch-ms", "epoch-us", "epoch-ns"
]
RULE_ORDER: Final[tuple[RuleName, ...]] = RuleName.__args__  # type: ignore[attr-defined]


class Cleaning(Recipe):
    """Which rules run, in which order, and how strict they are.

    Attributes:
        rules: names of the rules, in the order they run.
        most_unreadable: share of unreadable values from which a column counts as of the wrong
            type and the file is refused; below it, the rows are rejected.
        time_format: how times are written; found from the values where empty.
        earliest: times before it are malformed.
        asof: times after it are malformed; the clock's time at reading where None.
        event_types: their word → ours, for types written otherwise.
        decimal_ids: ids like '17850.0' lose the '.0' that a spreadsheet added.
        upper_items: item ids are written in capitals, so that '85123a' is '85123A'.
        no_product: patterns; an item id that one matches as a whole is no product.
        product: patterns of item ids that are products in spite of `no_product`.
        notes: patterns; a title in which one is found is a note, not a title.
        upper_titles: of an item's titles, those in capitals come first.
        max_price: prices above it are absurd, in the shop's currency.
        cancel_prefix: a session id that begins with it is a cancellation; none where empty.
            Purchases of a negative quantity are cancellations in any case.
        quantity_spread: a quantity is an outlier above median + spread · MAD of the logarithms
            of its item's quantities.
        quantity_floor: quantities up to it are never outliers.
        quantity_rows: items with fewer rows are measured against all rows of the file.
        outliers: what happens to outlier quantities.
        bot_daily: a user with more events than this on one day is a bot (impressions aside).
        bot_steady: a user is a bot whose gaps between instants spread less than this (standard
            deviation over mean), if the mean gap is under `bot_gap_s` seconds.
        bot_gap_s: longer gaps are never held against a user: a daily habit is no bot.
        bot_instants: users with fewer instants are not judged by their gaps.
    """

    rules: tuple[RuleName, ...] = RULE_ORDER
    most_unreadable: float = Field(default=0.5, ge=0, le=1)
    time_format: TimeFormat = ""
    earliest: datetime = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    asof: datetime | None = None
    event_types: dict[str, str] = Field(
        default_factory=lambda: {
            "buy": "purchase",
            "order": "purchase",
            "transaction": "purchase",
            "addtocart": "cart",
            "add_to_cart": "cart",
            "favorite": "favourite",
            "pageview": "view",
            "detail": "view",
            "rate": "rating",
            "listen": "play",
        }
    )
    decimal_ids: bool = True
    upper_items: bool = False
    no_product: tuple[str, ...] = ()
    product: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    upper_titles: bool = False
    max_price: float = Field(default=1_000_000, gt=0)
    cancel_prefix: str = ""
    quantity_spread: float = Field(default=6, gt=0)
    quantity_floor: float = Field(default=100, ge=1)
    quantity_rows: int = Field(default=20, ge=1)
    outliers: Literal["cap", "reject"] = "cap"
    bot_daily: int = Field(default=2_000, ge=1)
    bot_steady: float = Field(default=0.05, ge=0)
    bot_gap_s: float = Field(default=600, ge=0)
    bot_instants: int = Field(default=200, ge=3)

    @field_validator("rules")
    @classmethod
    def _once(cls, rules: tuple[RuleName, ...]) -> tuple[RuleName, ...]:
        if len(set(rules)) != len(rules):
            raise ValueError("a rule is named twice")
        return rules

    @field_validator("event_types")
    @classmethod
    def _known(cls, types: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(types.values()) - set(EVENT_TYPES))
        if unknown:
            raise ValueError(f"{unknown} are no event types; expected {list(EVENT_TYPES)}")
        return types

    def without(self, *names: RuleName) -> Self:
        """The same cleaning with some rules left out."""
        return self.model_copy(update={"rules": tuple(r for r in self.rules if r not in names)})

    def over(self, base: "Cleaning") -> "Cleaning":
        """The options that differ from their defaults here, and those of `base` for the rest.

        A recipe file states its defaults too, so having been stated is no sign of a wish.
        """
        usual = Cleaning()
        wished = [n for n in Cleaning.model_fields if getattr(self, n) != getattr(usual, n)]
        return base.model_copy(update={name: getattr(self, name) for name in wished})


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What one rule did.

    Attributes:
        name: the rule.
        rejected: rows it took out.
        changed: rows it left in with other values.
        examples: up to three of the rows touched, rejected ones first, in words.
    """

    name: str
    rejected: int = 0
    changed: int = 0
    examples: tuple[str, ...] = ()

    def plus(self, other: "RuleReport") -> "RuleReport":
        """Both together, for the same rule on two parts of a file."""
        return RuleReport(
            self.name,
            self.rejected + other.rejected,
            self.changed + other.changed,
            (self.examples + other.examples)[:3],
        )


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What became of the rows of one table's files.

    Attributes:
        table: the table the rows are for.
        rows: rows read.
        kept: rows that passed, changed ones included.
        changed: rows kept that some rule changed.
        rules: one entry a rule, in the order they ran.
        notes: what else happened, in sentences.

    Raises:
        ValueError: the counts do not add up to the rows.
    """

    table: str
    rows: int
    kept: int
    changed: int
    rules: tuple[RuleReport, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows != self.kept + self.rejected or self.changed > self.kept:
            raise ValueError(
                f"{self.rows} rows do not add up: {self.kept} kept (of them {self.changed} "
                f"changed) and {self.rejected} rejected"
            )

    @property
    def rejected(self) -> int:
        """Rows taken out by all rules together."""
        return sum(rule.rejected for rule in self.rules)

    def plus(self, other: "CleaningReport") -> "CleaningReport":
        """Both together, for two parts of the same input."""
        return CleaningReport(
            self.table,
            self.rows + other.rows,
            self.kept + other.kept,
            self.changed + other.changed,
            tuple(a.plus(b) for a, b in zip(self.rules, other.rules, strict=True)),
            tuple(dict.fromkeys(self.notes + other.notes)),
        )

    def noting(self, notes: Sequence[str]) -> "CleaningReport":
        """The same report with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {**asdict(self), "rejected": self.rejected}

    def table_rows(self) -> list[tuple[str, str, str, str]]:
        """Rule, changed, rejected and examples as texts, one row a rule; the last is the sum."""
        body = [
            (rule.name, f"{rule.changed:,}", f"{rule.rejected:,}", "\n".join(rule.examples))
            for rule in self.rules
        ]
        total = f"{self.rows:,} rows = {self.kept:,} kept + {self.rejected:,} rejected"
        return [*body, ("all", f"{self.changed:,}", f"{self.rejected:,}", total)]

"""Places of a slate that are sold: campaigns, what they bid, and the terms of the sale."""

from typing import Annotated, Final, Literal, Self

import numpy as np
import polars as pl
from pydantic import AwareDatetime, Field, field_validator, model_validator

from tailrec.items import Array
from tailrec.recipe import Recipe
from tailrec.reranking.auction import CompiledSponsored
from tailrec.reranking.grouping import numbers_of
from tailrec.reranking.rules import LAST_PLACE, Selection

MOST_CAMPAIGNS: Final = 100
MOST_SOLD: Final = 20
"""Places of a slate that are sold, at most."""
_NEVER = 2**62
"""Microseconds since 1970 that no clock reaches; sums of two still fit."""
_UNLIMITED = np.iinfo(np.int32).max

Place = Annotated[int, Field(ge=1, le=LAST_PLACE)]


class Campaign(Selection):
    """Items somebody pays for to be shown, in addition to `filter` or `items`.

    Attributes:
        name: of the campaign, unique.
        bid: most that is paid for a click, above 0, in the shop's currency.
        budget: most that is paid in a day of UTC, above 0.
        frequency: showings to one person a day, at most; None: as many as are won.
        starts: first instant, with its zone; None: runs already.
        ends: instant from which it is over, with its zone; None: runs on.
    """

    name: str = Field(min_length=1, max_length=100)
    bid: float
    budget: float
    frequency: int | None = Field(default=None, ge=1, le=10)
    starts: AwareDatetime | None = None
    ends: AwareDatetime | None = None

    @model_validator(mode="after")
    def _pays(self) -> Self:
        for what, amount in (("bid", self.bid), ("budget", self.budget)):
            if amount <= 0:
                raise ValueError(
                    f"campaign {self.name!r} has a {what} of {amount:g}; it must be above 0"
                )
        if self.starts is not None and self.ends is not None and self.starts >= self.ends:
            raise ValueError(
                f"campaign {self.name!r} ends at {self.ends}, not after its start at {self.starts}"
            )
        return self


class Sponsored(Recipe):
    """Which places are sold, to whom, and on what terms.

    Attributes:
        campaigns: who buys; without any, slates are left as they are.
        positions: the places for sale, 1 at the top.
        reserve: least price of a click, in the shop's currency.
        floor: least score of a sold item, as a share of what it is held against; 0: any.
        against: `place`: the best score from the place down, in a slate by score that of the item
            which would stand there; `best`: the best score of the slate.
    """

    campaigns: tuple[Campaign, ...] = Field(default=(), max_length=MOST_CAMPAIGNS)
    positions: tuple[Place, ...] = Field(default=(2, 7), min_length=1, max_length=MOST_SOLD)
    reserve: float = Field(default=0.0, ge=0)
    floor: float = Field(default=0.5, ge=0, le=1)
    against: Literal["place", "best"] = "place"

    @field_validator("positions")
    @classmethod
    def _each_once(cls, positions: tuple[int, ...]) -> tuple[int, ...]:
        for position in positions:
            if positions.count(position) > 1:
                raise ValueError(f"position {position} is for sale twice; name it once")
        return tuple(sorted(positions))

    @field_validator("campaigns")
    @classmethod
    def _names_differ(cls, campaigns: tuple[Campaign, ...]) -> tuple[Campaign, ...]:
        names = [campaign.name for campaign in campaigns]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{names.count(name)} campaigns are named {name!r}; name one")
        return campaigns

    @model_validator(mode="after")
    def _bids_meet_the_reserve(self) -> Self:
        for campaign in self.campaigns:
            if campaign.bid < self.reserve:
                raise ValueError(
                    f"campaign {campaign.name!r} bids {campaign.bid:g}, below the reserve of "
                    f"{self.reserve:g}; it would never be shown"
                )
        return self

    def compiled(self, table: pl.DataFrame) -> CompiledSponsored:
        """The campaigns over one catalogue; to be made once for each state of it.

        Args:
            table: columns of `columns.ITEMS` and `tier`; row = catalogue number.

        Returns:
            Arrays by catalogue number; items the catalogue lacks are in `unknown`.
        """
        named = {item for campaign in self.campaigns for item in campaign.items}
        number = numbers_of(table, named)
        about = [campaign.numbers(table, number) for campaign in self.campaigns]
        item = np.concatenate([np.zeros(0, np.int64), *about])
        whose = np.repeat(np.arange(len(about)), [len(own) for own in about])
        order = np.argsort(item, kind="stable")
        return CompiledSponsored(
            names=tuple(campaign.name for campaign in self.campaigns),
            ptr=np.append(0, np.cumsum(np.bincount(item, minlength=len(table)))),
            campaign=whose[order].astype(np.int16),
            terms=np.array([[own.bid, own.budget] for own in self.campaigns]).reshape(-1, 2),
            frequency=np.array([own.frequency or _UNLIMITED for own in self.campaigns], np.int32),
            times=_times(self.campaigns),
            places=np.array(self.positions, np.int32) - np.int32(1),
            reserve=self.reserve,
            floor=self.floor,
            by_best=self.against == "best",
            unknown=tuple(sorted(named - number.keys())),
        )


def _times(campaigns: tuple[Campaign, ...]) -> Array:
    """int64 [C, 2], starts and ends, microseconds since 1970."""
    both = [
        (
            -_NEVER if own.starts is None else round(own.starts.timestamp() * 1e6),
            _NEVER if own.ends is None else round(own.ends.timestamp() * 1e6),
        )
        for own in campaigns
    ]
    return np.array(both, np.int64).reshape(-1, 2)

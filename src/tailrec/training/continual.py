"""How a new period is learnt without forgetting: options only, see `retain` for what they do."""

from pydantic import Field

from tailrec.recipe import Recipe


class Continue(Recipe):
    """How a new period is learnt by an encoder that knows earlier ones.

    Attributes:
        replay: share of each batch's pairs that are drawn from earlier periods.
        consolidate: weight of the penalty on parameters that move, each by how much earlier
            periods need it; 0: none.
        remember: weight of one minus the cosine between new and old vectors of earlier items;
            0: none.
    """

    replay: float = Field(default=0.5, ge=0, lt=1)
    consolidate: float = Field(default=0.0, ge=0)
    remember: float = Field(default=0.0, ge=0)

"""Reports over the wire: what slates came to lately."""

from tailrec.wire import Body


class GoalNow(Body):
    """One goal on exposure, in the window that counts.

    Exposure is the attention of the places that items stood at: a top place counts 1.
    """

    name: str
    floor: float | None
    cap: float | None
    given: float
    missing: float
    price: float


class LaunchNow(Body):
    """How far new items have come."""

    impressions: int
    n_waiting: int
    n_reached: int


class CampaignNow(Body):
    """One campaign this day: its budget, what is owed for clicks, what it bids now."""

    name: str
    budget: float
    spent: float
    bid: float


class ExposureNow(Body):
    """Exposure of all workers together; the goals furthest from being met come first."""

    total: float = 0.0
    n_goals: int = 0
    n_met: int = 0
    goals: tuple[GoalNow, ...] = ()
    launch: LaunchNow | None = None
    campaigns: tuple[CampaignNow, ...] = ()

"""GET /v1/reports/exposure: whether goals are met, launches go on, and budgets last."""

from typing import Final

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.steering import Controls
from tailrec.wire_reports import CampaignNow, ExposureNow, GoalNow, LaunchNow

MOST_GOALS: Final = 1_000
"""Goals that are told one by one; those furthest from being met come first."""

router = APIRouter(tags=["reports"])


@router.get("/v1/reports/exposure", response_model=ExposureNow, responses=PROBLEMS)
def exposure(request: Request) -> Response:
    """What was shown lately against the goals on it, over all workers."""
    front = caller_of(request, "admin").front
    controls = front.control.controls
    if controls is None:
        return sent(ExposureNow())
    return sent(
        ExposureNow(
            total=0.0 if controls.sums is None else controls.sums.total,
            **_goals(controls),
            launch=_launch(controls),
            campaigns=_campaigns(controls),
        )
    )


def _goals(controls: Controls) -> dict[str, object]:
    goals, sums, prices = controls.goals, controls.sums, controls.prices
    if goals is None or sums is None or prices is None:
        return {}
    given = goals.given(sums.exposure)
    least, most = goals.least(sums.total, controls.days), goals.most(sums.total, controls.days)
    missing = np.maximum(least - given, 0) + np.maximum(given - most, 0)
    worst = np.argsort(-missing, kind="stable")[:MOST_GOALS]
    told = tuple(
        GoalNow(
            name=goals.names[number],
            floor=float(least[number]) if least[number] > 0 else None,
            cap=float(most[number]) if np.isfinite(most[number]) else None,
            given=float(given[number]),
            missing=float(missing[number]),
            price=float(prices[number]),
        )
        for number in worst.tolist()
    )
    return {"n_goals": len(goals), "n_met": int((missing <= 0).sum()), "goals": told}


def _launch(controls: Controls) -> LaunchNow | None:
    if controls.launch is None:
        return None
    recipe, course, waiting = controls.launch
    return LaunchNow(
        impressions=recipe.impressions,
        n_waiting=int(waiting.sum()),
        n_reached=int((course.shown >= recipe.impressions).sum()),
    )


def _campaigns(controls: Controls) -> tuple[CampaignNow, ...]:
    if controls.selling is None:
        return ()
    terms, bids = controls.selling
    return tuple(
        CampaignNow(name=name, budget=budget, spent=spent, bid=bid)
        for name, budget, spent, bid in zip(
            terms.names, terms.terms[:, 1].tolist(), controls.spent.tolist(), bids.tolist(),
            strict=True,
        )
    )  # fmt: skip

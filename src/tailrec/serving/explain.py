"""POST /v1/explain: why an item is in a slate, or which step dropped it and by how much."""

from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec.arrange import SOURCE, SOURCES
from tailrec.items import Items
from tailrec.reranking.auction import SPONSORED
from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.serving.asking import Asked, number_of, understood
from tailrec.serving.recommend import reasons_of, told_reasons
from tailrec.wire import Explain, Explained, Recommend

router = APIRouter(tags=["slates"])


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Where an item ended: the step, in words, and how far it was from being shown."""

    stage: str
    why: str
    rank: int | None = None
    missed_by: float | None = None


@router.post("/v1/explain", response_model=Explained, responses=PROBLEMS)
def explain(body: Explain, request: Request) -> Response:
    """Why an item is in the slate that a request would get, or why it is not.

    Nothing is logged: the slate is made, and not shown.
    """
    caller = caller_of(request, "read")
    told = body.request or Recommend()
    asked = understood(
        caller, told if told.user_id else told.model_copy(update={"user_id": body.user_id})
    )
    number = number_of(asked.standing, body.item_id)
    slate = asked.slate()
    verdict = _verdict(asked, slate, number)
    why = reasons_of(asked)
    parts = None if why is None else why(number)
    rules = asked.how.rules
    answer = Explained(
        item_id=body.item_id,
        shown=verdict.stage == "shown",
        rank=verdict.rank,
        stage=verdict.stage,
        why=verdict.why,
        score=None if parts is None else parts.score,
        missed_by=verdict.missed_by,
        reasons=[] if parts is None else told_reasons(asked, parts),
        rules=[] if rules is None else rules.why(number),
    )
    return sent(answer)


def _verdict(asked: Asked, slate: Items, number: int) -> _Verdict:
    place = np.flatnonzero(slate.ids == number)
    if len(place):
        rank = int(place[0]) + 1
        why = f"place {rank} of {len(slate)}{_special(asked, slate, int(place[0]))}"
        return _Verdict("shown", why, rank)
    return _barred(asked, number) or _outranked(asked, slate, number)


def _special(asked: Asked, slate: Items, place: int) -> str:
    """What put an item where it is, beside its score."""
    how, source = asked.how, SOURCES[slate.columns[SOURCE][place]]
    if source == "sponsored" and how.selling is not None:
        campaign = how.selling.terms.names[slate.columns[SPONSORED][place]]
        return f"; the place is sold to campaign {campaign!r}"
    if source == "launch" and how.launching is not None:
        promised = how.launching.recipe.impressions
        return f"; it is new, and was promised {promised:,} impressions"
    price = 0.0 if how.steering is None else float(how.steering.price[slate.ids[place]])
    if price > 0:
        return "; a goal on exposure speaks for it"
    return "; a goal on exposure speaks against it" if price < 0 else ""


def _barred(asked: Asked, number: int) -> _Verdict | None:
    """The step that keeps an item out whatever its score."""
    stand = asked.standing.stand
    row = stand.row(number)
    if stand.hidden[number]:
        state = "it is not for sale" if row["available"][0] is False else "none is in stock"
        return _Verdict("not on sale", f"not shown: {state}")
    stopped = asked.wanted.why_not(row) if asked.wanted else None
    if stopped is not None:
        return _Verdict("filter", f"not shown: {stopped}")
    if asked.akin is not None and asked.akin[number]:
        kind = row["category"][0]
        return _Verdict("category", f"not shown: {kind!r} is of the category in view")
    if number in asked.query.exclude:
        if number in asked.query.item:
            return _Verdict("seen", "not shown: the person has it, or is looking at it")
        return _Verdict("excluded", "not shown: the request leaves it out")
    rules = asked.how.rules
    if rules is not None and rules.factor[number] == 0:
        return _Verdict("rule", "not shown: a rule buries it for good")
    return None


def _outranked(asked: Asked, slate: Items, number: int) -> _Verdict:
    """How far an item is from the slate; it may be in the pool and have lost its place there."""
    engine = asked.standing.stand.engine
    every = engine.model.candidates(asked.query, len(engine.ids))[0]
    place = np.flatnonzero(every.ids == number)
    if not len(place):
        return _Verdict("no reason", "not shown: nothing the person did speaks for it")
    rank, score = int(place[0]) + 1, float(every.scores[place[0]])
    worst = float(slate.scores.min(initial=np.inf))
    if rank <= len(slate):
        steps = "goals on exposure, variety, rules or having been shown often"
        why = f"place {rank} by score, but {steps} moved it down"
        return _Verdict("arranged", why, rank)
    if worst <= 0 or worst < score:
        why = f"place {rank} by score; the slate holds others for variety, exposure or by a rule"
        return _Verdict("arranged", why, rank)
    why = (
        f"place {rank} by score: {worst - score:.4g} short of the last place, which has {worst:.4g}"
    )
    return _Verdict("outranked", why, rank, worst - score)

"""POST /v1/recommend, /v1/similar, /v1/rerank: slates."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

import numpy as np
import polars as pl
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tailrec import columns as c
from tailrec.arrange import SOURCE, SOURCES
from tailrec.candidates.linear import Contributions
from tailrec.items import Items
from tailrec.person import history_of
from tailrec.reranking.auction import CHARGE, SPONSORED
from tailrec.reranking.exposure_prices import WORTH
from tailrec.reranking.rules_compiled import NOTHING, RULE, TOUCHES
from tailrec.serving.access import Caller
from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.serving.asking import Asked, number_of, person_of, understood
from tailrec.serving.front import Known
from tailrec.serving.metrics import FALLBACKS, SHOWN
from tailrec.serving.standby import CONTENT, POPULAR
from tailrec.serving.writer import write_patiently
from tailrec.wire import Context, Reason, Recommend, Rerank, Similar, Slate

ARM: Final = "default"
"""What a slate is part of where no experiment runs."""
CERTAIN: Final = 1.0
"""Chance that an item stands where it does: nothing is drawn at random."""

Place = dict[str, Any]
"""What becomes a `SlateItem`."""

router = APIRouter(tags=["slates"])


@router.post("/v1/recommend", response_model=Slate, responses=PROBLEMS)
async def recommend(body: Recommend, request: Request) -> Response:
    """The items that suit a person best now, the long tail included."""
    started = time.perf_counter()
    caller = caller_of(request, "read")
    known = await caller.front.awaited_moment(person_of(body.user_id, body.session_id))
    quick = _is_quick(body) and not caller.front.shop.recipe.sponsored.campaigns
    if quick and caller.front.has(known[0].revision):
        # Less than a millisecond; handing it to a thread and back would double that. Where changes
        # of the catalogue are to be taken in first, it waits in a thread.
        return _recommended(caller, body, started, known)
    return await run_in_threadpool(_recommended, caller, body, started, known)


@router.post("/v1/similar", response_model=Slate, responses=PROBLEMS)
def similar(body: Similar, request: Request) -> Response:
    """Items that go with one: by its words, and by what people had together with it."""
    started = time.perf_counter()
    caller = caller_of(request, "read")
    number_of(caller.front.standing(caller.front.live.revision()), body.item_id)
    context = Recommend(
        user_id=None,
        item_id=body.item_id,
        n=body.n,
        filter=body.filter,
        exclude=body.exclude,
        tail=body.tail,
    )
    asked = understood(caller, context, leaving=_has(caller, body.user_id))
    return _served(caller, asked, context, started, explain=False)


@router.post("/v1/rerank", response_model=Slate, responses=PROBLEMS)
def rerank(body: Rerank, request: Request) -> Response:
    """The given items in the order that suits a person best.

    Items that are not in the shop, or not on sale, are left out; those nothing speaks for come
    last, in the order given.
    """
    started = time.perf_counter()
    caller = caller_of(request, "read")
    asked = understood(caller, body, only=body.items)
    return _served(caller, asked, body, started, explain=False, rest=body.items)


def _is_quick(body: Recommend) -> bool:
    """Whether nothing is asked that has to be worked out over the whole catalogue."""
    return body.filter is None and body.rules is None and not body.explain


def _recommended(caller: Caller, body: Recommend, started: float, known: Known) -> Response:
    asked = understood(caller, body, known=known)
    return _served(caller, asked, body, started, explain=body.explain)


def reasons_of(asked: Asked) -> Callable[[int], Contributions] | None:
    """What tells why items have their scores; None where the model gives no reasons."""
    model = asked.standing.stand.engine.explains
    return None if model is None else model.reasons(asked.query)


def told_reasons(asked: Asked, parts: Contributions) -> list[Reason]:
    """Reasons by item id, what being popular and, in a mixture, other sources gave.

    They add up to the score.
    """
    ids = asked.standing.stand.engine.ids
    told = [
        Reason(item_id=str(ids[number]), behaviour=float(behaviour), text=float(text))
        for number, behaviour, text in zip(parts.ids, parts.behaviour, parts.text, strict=True)
    ]
    if parts.popularity:
        told.append(Reason(item_id=None, behaviour=float(parts.popularity), text=0.0))
    told += [
        Reason(item_id=None, behaviour=0.0, text=0.0, source=source, other=value)
        for source, value in parts.others.items()
    ]
    return told


def _has(caller: Caller, user_id: str | None) -> list[str]:
    """Ids of the items in somebody's history; having been shown one is not having it."""
    if user_id is None:
        return []
    moment, _ = caller.front.moment(user_id)
    stand = caller.front.standing(moment.revision).stand
    histories = caller.front.shop.recipe.histories
    history = history_of(stand.engine.index, histories, moment)
    ids: list[str] = stand.engine.ids[history.item].tolist()
    return ids


def _served(
    caller: Caller,
    asked: Asked,
    body: Context,
    started: float,
    *,
    explain: bool,
    rest: list[str] | None = None,
) -> Response:
    """The answer; what it shows is logged."""
    slate = asked.slate()
    items = _places(asked, slate, explain=explain)
    if rest is not None:
        items += _unranked(asked, items, rest)
    now = datetime.now(UTC)
    slate_id = f"{int(now.timestamp() * 1e6):014x}-{token_hex(6)}"
    # From plain values in one step: a model made place by place takes many times as long.
    answer = Slate.model_validate(
        {
            "slate_id": slate_id,
            "model": asked.standing.version,
            "arm": ARM,
            "fallback": _fallback(asked, items),
            "took_ms": round((time.perf_counter() - started) * 1e3, 3),
            "items": items,
        }
    )
    # First what may fail: a slate that is not sent is not counted.
    _charge_later(caller, answer, slate, now)
    _log(caller, asked, body, answer, now)
    if asked.how.worth is not None:
        shown = [item["item_id"] for item in items[: len(slate)]]
        caller.front.control.note(shown, slate.columns.get(WORTH, np.zeros(len(slate))))
    _count(caller.front.name, answer)
    return sent(answer)


def _log(caller: Caller, asked: Asked, body: Context, answer: Slate, now: datetime) -> None:
    chances = [item.propensity for item in answer.items]
    caller.front.slates.write(
        {
            "slate_id": answer.slate_id,
            "user_id": asked.person,
            "session_id": body.session_id,
            "timestamp": now,
            "model": answer.model,
            "arm": ARM,
            "item_ids": json.dumps([item.item_id for item in answer.items], ensure_ascii=False),
            "propensities": None if set(chances) <= {CERTAIN} else json.dumps(chances),
        }
    )


def _charge_later(caller: Caller, answer: Slate, slate: Items, now: datetime) -> None:
    """Note the price of a click on each sponsored place, before anybody can click there."""
    sold = [
        {
            "slate_id": answer.slate_id,
            "item_id": item.item_id,
            "campaign": item.sponsored,
            "charge": charge,
            "timestamp": now,
        }
        for item, charge in zip(
            answer.items, slate.columns.get(CHARGE, np.zeros(len(slate))).tolist(), strict=False
        )
        if item.sponsored is not None
    ]
    if sold:
        write_patiently(caller.front.shop.store, "placements", pl.DataFrame(sold))


def _places(asked: Asked, slate: Items, *, explain: bool) -> list[Place]:
    stand = asked.standing.stand
    ids = stand.engine.ids[slate.ids].tolist()
    campaign = _campaigns(asked, slate)
    propensity = slate.columns.get(c.PROPENSITY, np.full(len(slate), CERTAIN)).tolist()
    tier = stand.tier[slate.ids].tolist()
    source = slate.columns[SOURCE].tolist()
    rule = slate.columns[RULE].tolist() if RULE in slate.columns else [NOTHING] * len(slate)
    why = reasons_of(asked) if explain else None
    places: list[Place] = []
    for place, (number, score) in enumerate(
        zip(slate.ids.tolist(), slate.scores.tolist(), strict=True)
    ):
        places.append(
            {
                "item_id": ids[place],
                "rank": place + 1,
                "score": score,
                "tier": c.TIERS[tier[place]],
                "propensity": propensity[place],
                "source": SOURCES[source[place]],
                "sponsored": campaign[place],
                "rule": None if rule[place] == NOTHING else TOUCHES[rule[place]],
                "reasons": told_reasons(asked, why(number)) if why else None,
            }
        )
    return places


def _campaigns(asked: Asked, slate: Items) -> list[str | None]:
    """Name of the campaign that pays for each place."""
    if SPONSORED not in slate.columns or asked.how.selling is None:
        return [None] * len(slate)
    names = asked.how.selling.terms.names
    return [None if one < 0 else names[one] for one in slate.columns[SPONSORED].tolist()]


def _unranked(asked: Asked, ranked: list[Place], rest: list[str]) -> list[Place]:
    """The given items that nothing speaks for, below the others."""
    stand = asked.standing.stand
    there = {item["item_id"] for item in ranked}
    hidden = asked.query.hidden
    left = set(asked.query.exclude.tolist())
    last = min((item["score"] for item in ranked), default=0.0)
    more: list[Place] = []
    for item_id in dict.fromkeys(rest):
        number = stand.engine.index.get(item_id)
        if number is None or item_id in there or number in left:
            continue
        if hidden is None or not hidden[number]:
            more.append(
                {
                    "item_id": item_id,
                    "rank": len(ranked) + len(more) + 1,
                    "score": min(last, 0.0) - 1 - len(more),
                    "tier": c.TIERS[stand.tier[number]],
                    "propensity": CERTAIN,
                    "source": "given",
                }
            )
    return more


def _fallback(asked: Asked, items: list[Place]) -> str | None:
    """What answered: words that had nothing to go by leave it to what sells now."""
    if asked.fallback == CONTENT and all(item["source"] == "popular" for item in items):
        return POPULAR
    return asked.fallback


def _count(shop: str, slate: Slate) -> None:
    by_tier: dict[str, int] = {}
    for item in slate.items:
        by_tier[item.tier] = by_tier.get(item.tier, 0) + 1
    for tier, n_items in by_tier.items():
        SHOWN.labels(shop, tier).inc(n_items)
    if slate.fallback is not None:
        FALLBACKS.labels(shop, slate.fallback).inc()

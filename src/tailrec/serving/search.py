"""POST /v1/search: items by words, spelling forgiven."""

import time
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec import columns as c
from tailrec.items import PADDING, Float32Array
from tailrec.search.facets import count_facets
from tailrec.search.index import Found as FoundItems
from tailrec.serving.access import Caller
from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.serving.asking import filter_of, understood
from tailrec.serving.standby import Standing
from tailrec.slates import search_items
from tailrec.wire import Facet, Found, FoundItem, Recommend, Search

LIKED = 200
"""Items that somebody likes best, which count a little more when they search."""

router = APIRouter(tags=["search"])


@router.post("/v1/search", response_model=Found, responses=PROBLEMS)
def search(body: Search, request: Request) -> Response:
    """Items that fit some words, by what they say and what they mean."""
    started = time.perf_counter()
    caller = caller_of(request, "read")
    front = caller.front
    standing = front.standing(front.live.revision())
    stand = standing.stand
    found = search_items(
        stand,
        body.query,
        k=body.n,
        hidden=stand.hiding(filter_of(caller, body.filter)),
        tail=body.tail,
        liking=_liking(caller, body.user_id),
    )
    answer = Found(
        items=_items(standing, found),
        n_matches=len(found.matches),
        corrected=dict(found.corrected),
        facets=_facets(standing, found, body.facets),
        model=standing.version,
        fallback=standing.fallback,
        took_ms=round((time.perf_counter() - started) * 1e3, 3),
    )
    return sent(answer)


def _liking(caller: Caller, user_id: str | None) -> Float32Array | None:
    """float32 [I], how much somebody likes each item; None for nobody in particular."""
    if user_id is None:
        return None
    asked = understood(caller, Recommend(user_id=user_id, n=LIKED, seen="show"))
    engine = asked.standing.stand.engine
    best = engine.model.candidates(asked.query, LIKED)[0]
    liking = np.zeros(len(engine.ids), np.float32)
    liking[best.ids] = best.scores
    return liking


def _items(standing: Standing, found: FoundItems) -> list[FoundItem]:
    stand = standing.stand
    titles = stand.table[c.TITLE]
    return [
        FoundItem(
            item_id=str(stand.engine.ids[number]),
            rank=place + 1,
            score=float(score),
            tier=c.TIERS[stand.tier[number]],
            title=titles[number],
        )
        for place, (number, score) in enumerate(
            zip(found.items.ids.tolist(), found.items.scores, strict=True)
        )
        if number != PADDING
    ]


def _facets(standing: Standing, found: FoundItems, names: Sequence[str]) -> dict[str, list[Facet]]:
    wanted = [facet for facet in standing.stand.facets if facet.name in names]
    counted = count_facets(wanted, found.matches)
    return {
        name: [Facet(value=str(value), n=n_items) for value, n_items in rows]
        for name, rows in counted.items()
    }

"""/v1/users: what is stored of a person, what it says of their taste, and how to erase it."""

import json

import numpy as np
import polars as pl
from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec import columns as c
from tailrec.errors import UnknownUser
from tailrec.serving.access import Caller
from tailrec.serving.answers import PROBLEMS, UserId, caller_of, sent
from tailrec.serving.items import attributes_of
from tailrec.wire import Accepted, Erased, Person, Profile, Users

MOST_NAMED = 20
"""Categories and brands of a profile, at most."""

router = APIRouter(tags=["users"])


@router.put("/v1/users", response_model=Accepted, responses=PROBLEMS)
def put_users(body: Users, request: Request) -> Response:
    """Put people; what a known one has and is not told again stays."""
    caller = caller_of(request, "write")
    rows = pl.DataFrame(
        [
            {
                c.USER_ID: user.user_id,
                c.ATTRIBUTES: None
                if user.attributes is None
                else json.dumps(user.attributes, ensure_ascii=False),
                c.CREATED_AT: user.created_at,
            }
            for user in body.users
        ],
        schema=dict(c.USERS),
    )
    caller.front.shop.store.write("users", rows)
    return sent(Accepted(accepted=len(rows)))


@router.get("/v1/users/{user_id:path}/profile", response_model=Profile, responses=PROBLEMS)
def get_profile(user_id: UserId, request: Request) -> Response:
    """What the person's events say: interests, prices, and how much they like the tail."""
    caller = caller_of(request, "write")
    return sent(_profile(caller, user_id))


@router.get("/v1/users/{user_id:path}", response_model=Person, responses=PROBLEMS)
def get_user(user_id: UserId, request: Request) -> Response:
    """What is stored of a person."""
    caller = caller_of(request, "write")
    stored = caller.front.live.user(user_id)
    n_events = caller.front.live.n_events(user_id)
    if stored is None and not n_events:
        raise UnknownUser(f"nothing is stored of {user_id!r}")
    return sent(
        Person(
            user_id=user_id,
            attributes=attributes_of(stored) if stored else None,
            created_at=stored[c.CREATED_AT] if stored else None,
            n_events=n_events,
        )
    )


@router.delete("/v1/users/{user_id:path}", response_model=Erased, responses=PROBLEMS)
def erase_user(user_id: UserId, request: Request) -> Response:
    """Erase a person: events, slates, attributes and aliases. The next fit knows nothing of them.

    A model holds sums over people and no row of anybody; see docs/privacy.md.
    """
    caller = caller_of(request, "admin")
    return sent(Erased(user_id=user_id, erased=caller.front.shop.erase(user_id)))


def _profile(caller: Caller, user_id: str) -> Profile:
    front = caller.front
    moment, _ = front.moment(user_id)
    if not moment.item_ids:
        raise UnknownUser(f"{user_id!r} has no events in this shop")
    stand = front.standing(moment.revision).stand
    number = [stand.engine.index.get(item_id, -1) for item_id in moment.item_ids]
    known = np.array([each for each in number if each >= 0], np.int64)
    rows = stand.table[known]
    prices = rows[c.PRICE].drop_nulls()
    low, middle, high = (prices.quantile(share, "linear") for share in (0.1, 0.5, 0.9))
    tail = np.isin(stand.tier[known], [c.TIERS.index("tail"), c.TIERS.index("cold")])
    times = pl.Series(moment.times).cast(c.EVENTS[c.TIMESTAMP])
    counts = pl.Series(moment.types).value_counts(sort=True)
    return Profile(
        user_id=user_id,
        n_events=len(moment.item_ids),
        first_event=times[0],
        latest_event=times[-1],
        by_type=dict(counts.rows()),
        categories=_shares(rows[c.CATEGORY]),
        brands=_shares(rows[c.BRAND]),
        price_low=low,
        price_middle=middle,
        price_high=high,
        tail_share=float(tail.mean()) if len(tail) else None,
    )


def _shares(values: pl.Series) -> dict[str, float]:
    """Share of each value among those there are, most frequent first."""
    there = values.drop_nulls()
    counts = there.value_counts(sort=True).head(MOST_NAMED)
    return {str(value): count / len(there) for value, count in counts.rows()}

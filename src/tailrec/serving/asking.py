"""From the body of a request to a slate: the same steps as a batch job, for one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from tailrec.arrange import Arrangement, Seen, Variety, leaving_out, slates_of
from tailrec.assortment import Assortment
from tailrec.data.filters import Filter, FilterError, parse_filter
from tailrec.data.histories import microseconds
from tailrec.data.live import Moment
from tailrec.dataset import DAY_US
from tailrec.errors import DataError, RecipeError, UnknownItem
from tailrec.items import PADDING, BoolArray, Int32Array, Items, QueryBatch
from tailrec.person import Deed, History, history_of
from tailrec.reranking.rules import Rules
from tailrec.serving.access import Caller
from tailrec.serving.event_rows import NAMELESS
from tailrec.serving.front import Known
from tailrec.serving.standby import Standing
from tailrec.shop_recipe import Scene, ShopRecipe
from tailrec.slates import check_dials
from tailrec.wire import Context, Recommend

NO_HISTORY: Final = "no history"
"""What answered where the store could not be read: the model, knowing only the session."""
_PLAIN: Final = Scene()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood.

    Attributes:
        standing: what it is answered from.
        moment: what is known of the person.
        person: id under which the person's events are stored; None for nobody.
        query: the request as the engine takes it, a batch of one.
        how: how the slate is made.
        wanted: the filter of the request and of its scene.
        akin: bool [I], items left out because they are of the category in view; None for none.
        fallback: what answers instead of the model, if anything does.
    """

    standing: Standing
    moment: Moment
    person: str | None
    query: QueryBatch
    how: Arrangement
    wanted: Filter | None
    akin: BoolArray | None
    fallback: str | None

    def slate(self) -> Items:
        """The slate, best first."""
        return slates_of(self.standing.stand.engine, self.query, self.how)[0]


def understood(
    caller: Caller,
    body: Context,
    *,
    known: Known | None = None,
    only: Sequence[str] | None = None,
    leaving: Sequence[str] = (),
) -> Asked:
    """A request, with all that is known of who sent it.

    Args:
        caller: whose key it came with.
        body: the request.
        known: what is known of who sent it; read from the store where None.
        only: item ids that may be shown; all where None.
        leaving: item ids that are not shown, beside those of the request.

    Raises:
        DataError: a filter, a scene or a dial is wrong.
        RequestValidationError: a rule is.
        ArtifactError: there is nothing to answer from.
    """
    front = caller.front
    recipe = front.shop.recipe
    person = person_of(body.user_id, body.session_id)
    moment, was_read = front.moment(person) if known is None else known
    standing = front.standing(moment.revision)
    stand = standing.stand
    scene = _scene(recipe, body)
    wanted = _both(scene.filter, filter_of(caller, body.filter))
    tail, variety = _dials(standing, recipe, scene, body)
    history = history_of(
        stand.engine.index, recipe.histories, moment, deeds=_deeds(body), viewing=body.item_id
    )
    akin = _akin(stand, history, scene, body)
    hidden = stand.hiding(wanted)
    for others in (akin, None if only is None else ~_among(standing, only)):
        hidden = hidden if others is None else hidden | others
    query = leaving_out(
        history.query(tail=tail, hidden=hidden),
        _seen(recipe, scene, body),
        stand.model.again_days,
        standing.stand.numbers([*body.exclude, *leaving, *filter(None, [body.item_id])]),
    )
    tired = _shown_in_vain(standing, moment, recipe)
    how = Arrangement(
        _places(body, scene) if only is None else len(only),
        variety,
        rules=stand.rules_of(_rules(caller, scene, body)),
        fatigue=recipe.slate.fatigue,
        shown_rows=np.zeros(len(tired), np.int32),
        shown=tired,
        fairness=stand.fairness_of(recipe.fairness),
    )
    if only is None:
        how = front.control.on(how, stand, moment)
    fallback = standing.fallback if was_read else standing.fallback or NO_HISTORY
    return Asked(standing, moment, person, query, how, wanted, akin, fallback)


def person_of(user_id: str | None, session_id: str | None) -> str | None:
    """The id under which somebody's events are stored; None for nobody."""
    return user_id or (NAMELESS + session_id if session_id else None)


def filter_of(caller: Caller, value: object, *, at: str = "filter") -> Filter | None:
    """A filter as it was sent.

    Raises:
        FilterError: it is malformed, or asks what the key may not know.
    """
    if value is None:
        return None
    wanted = parse_filter(value, at=at)
    _check_may_ask(caller, wanted, at)
    return wanted


def _check_may_ask(caller: Caller, wanted: Filter, at: str) -> None:
    # By asking often enough, a filter would tell what every item costs the shop.
    if not caller.may("write") and any(part.field == "cost" for part in wanted.conditions()):
        raise FilterError(at, "cost is not for keys that may only read")


def number_of(standing: Standing, item_id: str) -> int:
    """Catalogue number of an item that is in the shop.

    Raises:
        UnknownItem: it is not.
    """
    number = standing.stand.engine.index.get(item_id, PADDING)
    if number == PADDING or standing.stand.missing[number]:
        raise UnknownItem(f"item {item_id!r} is not in this shop; put it first")
    return number


def _among(standing: Standing, ids: Sequence[str]) -> BoolArray:
    there = np.zeros(len(standing.stand.hidden), bool)
    there[standing.stand.numbers(ids)] = True
    return there


def _dials(
    standing: Standing, recipe: ShopRecipe, scene: Scene, body: Context
) -> tuple[float, Variety]:
    """How far a slate leans to the tail, and how varied it is."""
    tail = _told(body.tail, scene.tail, recipe.slate.tail)
    diversity = _told(body.diversity, scene.diversity, recipe.slate.diversity)
    variety = standing.stand.variety(diversity, recipe.slate.variety, recipe.slate.window)
    try:
        check_dials(standing.stand, tail, diversity, variety.method)
    except RecipeError:
        if standing.fallback is None:
            raise
        return 0.0, Variety()  # what stands in does without
    return tail, variety


def _told(asked: float | None, scene: float | None, usual: float) -> float:
    """A dial: the request's, else the scene's, else the recipe's."""
    if asked is not None:
        return asked
    return usual if scene is None else scene


def _akin(stand: Assortment, history: History, scene: Scene, body: Context) -> BoolArray | None:
    """What is of the category in view, where that is to be left out."""
    level = scene.outside if body.outside is None else body.outside
    in_view = None if body.item_id is None else stand.engine.index.get(body.item_id)
    if in_view is None and len(history.item):
        in_view = int(history.item[-1])
    return None if level is None or in_view is None else stand.akin(in_view, level)


def _scene(recipe: ShopRecipe, body: Context) -> Scene:
    name = body.scene if isinstance(body, Recommend) else None
    if name is None:
        return _PLAIN
    if name not in recipe.scenes:
        known = ", ".join(recipe.scenes) or "none"
        raise DataError(f"scene {name!r} is not in tailrec.toml; there: {known}")
    return recipe.scenes[name]


def _places(body: Context, scene: Scene) -> int:
    asked = body.n if isinstance(body, Recommend) else None
    return scene.n if asked is None else asked


def _seen(recipe: ShopRecipe, scene: Scene, body: Context) -> Seen:
    return body.seen or scene.seen or recipe.slate.seen


def _rules(caller: Caller, scene: Scene, body: Context) -> Rules:
    rules = caller.front.shop.recipe.rules if scene.rules is None else scene.rules
    if body.rules is None:
        return rules
    try:
        own = Rules.model_validate(body.rules)
    except ValidationError as error:
        faults = [{**each, "loc": ("rules", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(faults) from error
    for rule in own.selections:
        if rule.filter is not None:
            _check_may_ask(caller, rule.filter, "rules")
    return rules.joined(own)


def _both(one: Filter | None, other: Filter | None) -> Filter | None:
    if one is None or other is None:
        return one or other
    return parse_filter({"all": [one.plain(), other.plain()]})


def _deeds(body: Context) -> list[Deed]:
    return [
        Deed(told.item_id, told.type, _instant(told.timestamp), told.value) for told in body.session
    ]


def _instant(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def _shown_in_vain(standing: Standing, moment: Moment, recipe: ShopRecipe) -> Int32Array:
    """Catalogue numbers of what the person was shown lately, once for every time."""
    if not moment.shown or not recipe.slate.fatigue:
        return np.zeros(0, np.int32)
    latest = max(moment.now, int(moment.shown_at[0]))
    since = latest - recipe.slate.fatigue_days * DAY_US
    lately = [ids for ids, at in zip(moment.shown, moment.shown_at, strict=True) if at >= since]
    return standing.stand.numbers([item_id for ids in lately for item_id in ids])

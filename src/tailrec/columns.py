"""Every table and column of a shop, named once."""

from types import MappingProxyType
from typing import Final

import polars as pl

EVENT_ID: Final = "event_id"
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
TYPE: Final = "type"
VALUE: Final = "value"
TIMESTAMP: Final = "timestamp"
SESSION_ID: Final = "session_id"
TEXT: Final = "text"
SLATE_ID: Final = "slate_id"
POSITION: Final = "position"
PROPENSITY: Final = "propensity"
ARM: Final = "arm"
PLATFORM: Final = "platform"

TITLE: Final = "title"
DESCRIPTION: Final = "description"
BRAND: Final = "brand"
CATEGORY: Final = "category"
PRICE: Final = "price"
COST: Final = "cost"
STOCK: Final = "stock"
SELLER_ID: Final = "seller_id"
IMAGES: Final = "images"
ATTRIBUTES: Final = "attributes"
CREATED_AT: Final = "created_at"
AVAILABLE: Final = "available"

ALIAS: Final = "alias"

TIER: Final = "tier"
TIERS: Final = ("head", "middle", "tail", "cold")
"""Names of the tier codes: `TIERS[code]`."""

ITEM_IDS: Final = "item_ids"
PROPENSITIES: Final = "propensities"
MODEL: Final = "model"

CAMPAIGN: Final = "campaign"
CHARGE: Final = "charge"
CLICKED: Final = "clicked"

RANK: Final = "rank"
SCORE: Final = "score"

CATEGORY_SEPARATOR: Final = " > "

EVENT_TYPES: Final = (
    "impression",
    "click",
    "view",
    "favourite",
    "cart",
    "purchase",
    "rating",
    "review",
    "search",
    "play",
)

_UTC = pl.Datetime("us", "UTC")

EVENTS: Final = MappingProxyType(
    {
        EVENT_ID: pl.String(),
        USER_ID: pl.String(),
        ITEM_ID: pl.String(),
        TYPE: pl.String(),
        VALUE: pl.Float64(),
        TIMESTAMP: _UTC,
        SESSION_ID: pl.String(),
        TEXT: pl.String(),
        SLATE_ID: pl.String(),
        POSITION: pl.Int32(),
        PROPENSITY: pl.Float64(),
        ARM: pl.String(),
        PLATFORM: pl.String(),
    }
)
ITEMS: Final = MappingProxyType(
    {
        ITEM_ID: pl.String(),
        TITLE: pl.String(),
        DESCRIPTION: pl.String(),
        BRAND: pl.String(),
        CATEGORY: pl.String(),
        PRICE: pl.Float64(),
        COST: pl.Float64(),
        STOCK: pl.Float64(),
        SELLER_ID: pl.String(),
        IMAGES: pl.String(),
        ATTRIBUTES: pl.String(),
        CREATED_AT: _UTC,
        AVAILABLE: pl.Boolean(),
    }
)
USERS: Final = MappingProxyType({USER_ID: pl.String(), ATTRIBUTES: pl.String(), CREATED_AT: _UTC})
ALIASES: Final = MappingProxyType({PLATFORM: pl.String(), ALIAS: pl.String(), USER_ID: pl.String()})
SLATES: Final = MappingProxyType(
    {
        SLATE_ID: pl.String(),
        USER_ID: pl.String(),
        SESSION_ID: pl.String(),
        TIMESTAMP: _UTC,
        MODEL: pl.String(),
        ARM: pl.String(),
        ITEM_IDS: pl.String(),
        PROPENSITIES: pl.String(),
    }
)
"""What was served, a row a slate; `item_ids` and `propensities` are JSON lists by position."""
PLACEMENTS: Final = MappingProxyType(
    {
        SLATE_ID: pl.String(),
        ITEM_ID: pl.String(),
        CAMPAIGN: pl.String(),
        CHARGE: pl.Float64(),
        TIMESTAMP: _UTC,
        CLICKED: pl.Boolean(),
    }
)
"""Sponsored places that were served; a click that names the slate is charged once."""

TABLES: Final = MappingProxyType(
    {
        "events": EVENTS,
        "items": ITEMS,
        "users": USERS,
        "aliases": ALIASES,
        "slates": SLATES,
        "placements": PLACEMENTS,
    }
)
LOGS: Final = ("events", "slates", "placements")
"""Tables whose rows are never changed: one that is known already is ignored."""
KEYS: Final = MappingProxyType(
    {
        "events": (EVENT_ID,),
        "items": (ITEM_ID,),
        "users": (USER_ID,),
        "aliases": (PLATFORM, ALIAS),
        "slates": (SLATE_ID,),
        "placements": (SLATE_ID, ITEM_ID),
    }
)
REQUIRED: Final = MappingProxyType(
    {
        "events": (USER_ID, ITEM_ID, TYPE, TIMESTAMP),
        "items": (ITEM_ID, TITLE),
        "users": (USER_ID,),
        "aliases": (PLATFORM, ALIAS, USER_ID),
        "slates": (SLATE_ID, TIMESTAMP, ITEM_IDS),
        "placements": (SLATE_ID, ITEM_ID, CAMPAIGN, CHARGE, TIMESTAMP),
    }
)

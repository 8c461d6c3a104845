"""The store's tables as SQLAlchemy sees them, and the steps that brought them there."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import polars as pl
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.types import TIMESTAMP, TypeEngine

from tailrec import columns as c
from tailrec.data.backend import Connection, Database
from tailrec.errors import StoreError

_SQL_TYPES: Final[Mapping[pl.DataType, TypeEngine[Any]]] = MappingProxyType(
    {
        pl.String(): Text(),
        pl.Float64(): Double(),
        pl.Int32(): Integer(),
        pl.Boolean(): Boolean(),
        pl.Datetime("us", "UTC"): BigInteger().with_variant(TIMESTAMP(True), "postgresql"),
    }
)
_METADATA = MetaData()

TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {
        name: Table(name, _METADATA, *(Column(key, _SQL_TYPES[t]) for key, t in schema.items()))
        for name, schema in c.TABLES.items()
    }
)
"""The tables of `columns.TABLES`, as they are after the last step."""

_VERSION = Table("tailrec_schema", _METADATA, Column("version", Integer))

REVISIONS = Table("revisions", _METADATA, Column("name", Text), Column("value", BigInteger))
"""Counters that grow with every change of what they name; a change waits for the one before."""

ITEM_REVISIONS = Table(
    "item_revisions",
    _METADATA,
    Column(c.ITEM_ID, Text),
    Column("revision", BigInteger),
    Column("gone", Integer),
)
"""The revision of `items` that last changed an item, and whether it was deleted then."""

COUNTERS = Table(
    "counters",
    _METADATA,
    *(Column(name, Text) for name in ("kind", "name", "day")),
    Column("amount", Double),
    Column("changed", BigInteger),
)
"""Sums that many processes add to, a row for each day; `changed` is the revision of `counters`
that last added to one."""

KEYS = Table(
    "access_keys",
    _METADATA,
    *(Column(name, Text) for name in ("key_id", "digest", "role", "label")),
    *(Column(name, _SQL_TYPES[c.EVENTS[c.TIMESTAMP]]) for name in ("created_at", "revoked_at")),
)
"""Keys to the service; of the secret there is only a digest."""

STEPS: Final[Sequence[Sequence[str]]] = (
    (
        """CREATE TABLE events (
            event_id {text} NOT NULL PRIMARY KEY, user_id {text} NOT NULL, item_id {text} NOT NULL,
            type {text} NOT NULL, value {real}, "timestamp" {instant} NOT NULL, session_id {text},
            text {text}, slate_id {text}, position INTEGER, propensity {real}, arm {text},
            platform {text}) {strict}""",
        'CREATE INDEX events_by_user ON events (user_id, "timestamp")',
        'CREATE INDEX events_by_time ON events ("timestamp")',
        """CREATE TABLE items (
            item_id {text} NOT NULL PRIMARY KEY, title {text} NOT NULL, description {text},
            brand {text}, category {text}, price {real}, cost {real}, stock {real},
            seller_id {text}, images {text}, attributes {text}, created_at {instant},
            available {boolean}) {strict}""",
        """CREATE TABLE users (
            user_id {text} NOT NULL PRIMARY KEY, attributes {text},
            created_at {instant}) {strict}""",
        """CREATE TABLE aliases (
            platform {text} NOT NULL, alias {text} NOT NULL, user_id {text} NOT NULL,
            PRIMARY KEY (platform, alias)) {strict}""",
        "CREATE INDEX aliases_by_user ON aliases (user_id)",
    ),
    (
        """CREATE TABLE slates (
            slate_id {text} NOT NULL PRIMARY KEY, user_id {text}, session_id {text},
            "timestamp" {instant} NOT NULL, model {text}, arm {text}, item_ids {text} NOT NULL,
            propensities {text}) {strict}""",
        'CREATE INDEX slates_by_user ON slates (user_id, "timestamp")',
        """CREATE TABLE revisions (
            name {text} NOT NULL PRIMARY KEY, value {whole} NOT NULL) {strict}""",
        "INSERT INTO revisions (name, value) VALUES ('items', 0)",
        """CREATE TABLE item_revisions (
            item_id {text} NOT NULL PRIMARY KEY, revision {whole} NOT NULL,
            gone INTEGER NOT NULL) {strict}""",
        "CREATE INDEX item_revisions_by_revision ON item_revisions (revision)",
        """CREATE TABLE access_keys (
            key_id {text} NOT NULL PRIMARY KEY, digest {text} NOT NULL, role {text} NOT NULL,
            label {text}, created_at {instant} NOT NULL, revoked_at {instant}) {strict}""",
    ),
    (
        """CREATE TABLE placements (
            slate_id {text} NOT NULL, item_id {text} NOT NULL, campaign {text} NOT NULL,
            charge {real} NOT NULL, "timestamp" {instant} NOT NULL, clicked {boolean},
            PRIMARY KEY (slate_id, item_id)) {strict}""",
        'CREATE INDEX placements_clicked ON placements ("timestamp") WHERE clicked IS NOT NULL',
        """CREATE TABLE counters (
            kind {text} NOT NULL, name {text} NOT NULL, day {text} NOT NULL,
            amount {real} NOT NULL, changed {whole} NOT NULL,
            PRIMARY KEY (kind, name, day)) {strict}""",
        "CREATE INDEX counters_by_change ON counters (changed)",
        "INSERT INTO revisions (name, value) VALUES ('counters', 0)",
    ),
)
"""Step n takes a store from version n to n + 1. A step that was released is never edited:
a change of the tables is a new step, and `TABLES` states where all of them lead."""


def version_of(connection: Connection, database: Database) -> int:
    """The version a store is at; 0 where there are no tables yet."""
    if not database.has_table(connection, _VERSION.name):
        return 0
    return int(connection.rows(select(_VERSION)).item())


def migrate(database: Database, *, create: bool, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Bring a store to the version this code knows; all missing steps or none are taken.

    Raises:
        StoreError: there is no store and none is to be created, or it is newer than this code.
    """
    with database.connection() as connection:
        version = version_of(connection, database)
    if version == 0 and not create:
        raise StoreError(f"no store at {database.name}; run `tailrec init`")
    if version > len(steps):
        raise StoreError(
            f"the store at {database.name} has schema version {version}, this tailrec knows "
            f"versions up to {len(steps)}; upgrade tailrec"
        )
    if version == len(steps):
        return
    with database.transaction() as connection:
        database.lock_schema(connection)
        # Another process may have taken the steps while this one waited for the lock.
        version = version_of(connection, database)
        if version == 0:
            connection.run(text(f"CREATE TABLE {_VERSION.name} (version INTEGER NOT NULL)"))
        for statements in steps[version:]:
            for statement in statements:
                connection.run(text(statement.format_map(database.words)))
        connection.run(delete(_VERSION))
        connection.run(insert(_VERSION).values(version=max(version, len(steps))))

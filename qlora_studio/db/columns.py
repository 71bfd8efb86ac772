"""Columns and indexes shared by the tables: aware UTC times, enums stored by value, JSON, what is shared."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Index, Integer, text
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite drops the zone when it stores one; this puts it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: use core.clock.utc_now()")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_type(enum: type[StrEnum]) -> Enum:
    """A VARCHAR(32) that holds the enum's values (not its Python names)."""
    return Enum(
        enum,
        values_callable=lambda e: [m.value for m in e],
        native_enum=False,
        create_constraint=False,
        length=32,
    )


JsonType = JSON(none_as_null=True)
BigNumber = BigInteger().with_variant(Integer(), "sqlite")  # bytes, parameters: more than 31 bits


def index_of_shared(table: str) -> Index:
    """The index of a table's rows that others may see: few of many."""
    is_shared = text("sharing != 'private'")
    names = ("sharing", "created_at", "id")
    return Index(f"ix_{table}_shared", *names, sqlite_where=is_shared, postgresql_where=is_shared)

"""The kinds of columns and constraints that tables are made of."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    MetaData,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

#: The schema of all tables.
SCHEMA = "warehouse"

#: All tables, and how their constraints are named.
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


def key(name: str, comment: str) -> Column[int]:
    """The id of a table, dealt out by the database."""
    return Column(name, Integer, Identity(), primary_key=True, comment=comment)


def reference(name: str, target: str, *, nullable: bool = False, comment: str | None = None) -> Column[int]:
    """The id of a row of another table; target: as ``model.model_id``."""
    return Column(name, Integer, ForeignKey(f"{SCHEMA}.{target}"), nullable=nullable, comment=comment)


def text_column(name: str, comment: str, *, nullable: bool = False) -> Column[str]:
    """Text."""
    return Column(name, Text, nullable=nullable, comment=comment)


def number(name: str, comment: str, *, nullable: bool = True) -> Column[float]:
    """A double precision number."""
    return Column(name, Double, nullable=nullable, comment=comment)


def count(name: str, comment: str, *, nullable: bool = False) -> Column[int]:
    """A count or an offset, eight bytes wide."""
    return Column(name, BigInteger, nullable=nullable, comment=comment)


def array(
    name: str, of: TypeEngine[float] | TypeEngine[int], comment: str, *, nullable: bool = False
) -> Column[object]:
    """An array over the tokens of a chunk, or over something as small."""
    return Column(name, ARRAY(of), nullable=nullable, comment=comment)


def moment(name: str, comment: str) -> Column[object]:
    """When the row was written."""
    return Column(name, DateTime(timezone=True), server_default=text("now()"), nullable=False, comment=comment)


def same_length(*columns: str) -> CheckConstraint:
    """All arrays of a chunk have one length: unnest of several arrays would pad the shorter ones in silence."""
    first, *others = columns
    return CheckConstraint(
        " and ".join(f"cardinality({other}) = cardinality({first})" for other in others), name="same_length"
    )

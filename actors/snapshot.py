"""How an actor's state becomes plain data and comes back unchanged."""

from collections.abc import MutableSet, Set
from decimal import Decimal
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError
from cattrs.v import transform_error

from venues.model.book import Book
from venues.model.money import parse_decimal

_T = TypeVar("_T")


class SnapshotError(ValueError):
    """A snapshot of an unknown schema, one whose data does not fit it, or a state that cannot be written down."""


def _converter(*, is_detailed: bool) -> Converter:
    converter = Converter(
        forbid_extra_keys=True,
        unstruct_collection_overrides={Set: sorted, MutableSet: sorted},
        detailed_validation=is_detailed,
    )
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: parse_decimal(value, "decimal"))
    # The commonest of optional fields: without these each of them is looked up by its type again.
    converter.register_unstructure_hook(Decimal | None, lambda value: None if value is None else str(value))
    converter.register_structure_hook(
        Decimal | None, lambda value, _: None if value is None else parse_decimal(value, "decimal")
    )
    converter.register_unstructure_hook(Book, lambda book: [sorted(book.bids.items()), sorted(book.asks.items())])
    converter.register_structure_hook(Book, _structure_book)
    # An actor may have nothing to remember.
    converter.register_structure_hook(type(None), lambda value, _: None)
    return converter


def _structure_book(plain: list[list[tuple[int, int]]], _: type[Book]) -> Book:
    book = Book()
    bids, asks = plain
    book.load(((int(t), int(q)) for t, q in bids), ((int(t), int(q)) for t, q in asks))
    return book


_CONVERTER = _converter(is_detailed=False)
# Slower; it tells where what does not fit is.
_DETAILED = _converter(is_detailed=True)


def to_plain(state: object, owner: str = "state") -> Any:
    """Return `state` as dicts, lists, strings and numbers. Raises SnapshotError naming `owner`."""
    try:
        return _CONVERTER.unstructure(state)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"{owner}: its state cannot be written down: {error}") from error


def from_plain(plain: Any, kind: type[_T], owner: str) -> _T:
    """Return a `kind` made from plain data. Raises SnapshotError naming `owner` and what does not fit."""
    try:
        return _CONVERTER.structure(plain, kind)
    except Exception:  # noqa: BLE001 - whatever it is, the other one raises it as well, and says more
        return _from_plain(plain, kind, owner)


def _from_plain(plain: Any, kind: type[_T], owner: str) -> _T:
    try:
        return _DETAILED.structure(plain, kind)
    except StructureHandlerNotFoundError as error:
        raise SnapshotError(f"{owner}: {error}") from error
    except (BaseValidationError, ValueError, TypeError, KeyError) as error:
        raise SnapshotError(f"{owner}: {'; '.join(transform_error(error))}") from error

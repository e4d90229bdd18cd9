"""Frozen dataclasses to JSON and back, checked field by field."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from training.errors import InputError

C = TypeVar("C")


def from_dict(cls: type[C], values: Any, where: str = "the configuration") -> C:
    """A `cls` made of `values`, as `dataclasses.asdict` and JSON leave them; missing fields keep defaults.

    Raises:
        InputError: when `values` are no group of fields, for one that `cls` lacks and for a value of another
            type; `where` names the source.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}, expected a group of fields")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - names):
        raise InputError(f"{where} has the field {unknown[0]!r}, expected some of {', '.join(sorted(names))}")
    return cls(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        fits = value in inner
    elif origin in (types.UnionType, typing.Union):
        options = [option for option in inner if option is not type(None)]
        return None if value is None and len(options) < len(inner) else _value(options[0], value, where)
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(inner[0], item, where) for item in value)
        fits = False
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not fits:
        wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise InputError(f"{where} is {value!r}, expected {wanted}")
    return value


def check_positive(cfg: object, *names: str) -> None:
    """Raises InputError unless these fields are finite and more than 0, or sizes that all are."""
    for name in names:
        value = getattr(cfg, name)
        if not all(0 < item < math.inf for item in (value if isinstance(value, tuple) else (value,))):
            raise InputError(f"{name} is {_shown(value)}, expected more than 0")


def check_not_negative(cfg: object, *names: str) -> None:
    """Raises InputError unless these fields are finite and 0 or more."""
    for name in names:
        if not 0 <= getattr(cfg, name) < math.inf:
            raise InputError(f"{name} is {getattr(cfg, name)}, expected 0 or more")


def check_share(cfg: object, *names: str) -> None:
    """Raises InputError unless these fields are between 0 and 1."""
    for name in names:
        if not 0 <= getattr(cfg, name) <= 1:
            raise InputError(f"{name} is {getattr(cfg, name)}, expected 0 to 1")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

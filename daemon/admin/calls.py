"""What a method of an admin socket is, who may call it, and who calls."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from attrs import field, frozen

from daemon.live.sockets import Peer


class Role(StrEnum):
    """What a socket lets its callers do; OPS includes VIEW. The file permissions of the socket say who that is."""

    VIEW = "view"
    OPS = "ops"

    def may(self, other: "Role") -> bool:
        return self is Role.OPS or other is Role.VIEW


@frozen
class Caller:
    """Who calls: the socket's role, what the kernel knows of the process, and the name that goes with it."""

    role: Role
    peer: Peer
    operator: str


class RefusedError(Exception):
    """The call is sound and was not carried out; the text says why. Nothing changed."""


class NoParams(msgspec.Struct, forbid_unknown_fields=True):
    """Params of a method that takes none."""


Poll = Callable[[], Iterable[Any]]
"""Gives what is new since it was called last."""


@frozen
class Method:
    """One method. `handler` takes the params and the caller and returns something for JSON, or an awaitable of it.

    It raises RefusedError when it will not. `follow`, for methods that go on after their answer, takes what `handler`
    took and returns a Poll; what that gives is sent as notifications until the caller hangs up. `is_urgent` methods
    run even when their call cannot be written down: stopping must not wait for a disk.
    """

    name: str
    role: Role
    help: str
    handler: Callable[[Any, Caller], Any | Awaitable[Any]]
    params: type[msgspec.Struct] = NoParams
    follow: Callable[[Any, Caller], Poll] | None = field(default=None, kw_only=True)
    is_urgent: bool = field(default=False, kw_only=True)


def table(methods: Iterable[Method]) -> Mapping[str, Method]:
    """Return the methods by name. Raises ValueError for a name taken twice."""
    found: dict[str, Method] = {}
    for one in methods:
        if one.name in found:
            raise ValueError(f"two methods are called {one.name}")
        found[one.name] = one
    return found


def described(methods: Mapping[str, Method], role: Role) -> list[dict[str, Any]]:
    """Return what a caller with `role` may call: name, role, params, what for."""
    return [
        {
            "name": one.name,
            "role": one.role,
            "params": {part.name: _kind(part) for part in msgspec.structs.fields(one.params)},
            "help": one.help,
        }
        for one in methods.values()
        if role.may(one.role)
    ]


def _kind(part: msgspec.structs.FieldInfo) -> str:
    name = _name(msgspec.inspect.type_info(part.type))
    return name if part.required else f"{name}, default {part.default!r}"


def _name(kind: msgspec.inspect.Type) -> str:
    if isinstance(kind, msgspec.inspect.EnumType):
        return " | ".join(str(one.value) for one in kind.cls)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " | ".join(map(str, kind.values))
    if isinstance(kind, msgspec.inspect.UnionType):
        return " | ".join(_name(one) for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    return type(kind).__name__.removesuffix("Type").lower()

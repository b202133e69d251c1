"""What a client's script tells its test: the value of every call, by the call's name, as one line of JSON."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any


def told() -> dict[str, Any]:
    """Return the emulator's endpoints and what the test gave besides."""
    given: dict[str, Any] = json.load(sys.stdin)
    return given


def base(url: str) -> str:
    """Return a URL's scheme, host and port."""
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{rest.split('/', 1)[0]}"


class Calls:
    """The calls a script has made and their values."""

    def __init__(self) -> None:
        self.made: dict[str, list[Any]] = {}

    def note(self, name: str, value: Any) -> Any:
        # As it is now: some clients go on changing what they have given.
        self.made.setdefault(name, []).append(json.loads(json.dumps(value, default=_plain)))
        return value

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call and note the value under the function's own name."""
        return self.note(function.__name__, function(*args, **kwargs))

    def refused(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call, and note the error that the client must raise."""
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - each client has errors of its own
            self.note(name, [type(error).__name__, str(error)])
        else:
            raise AssertionError(f"{name} was not refused but gave {value!r}")

    async def await_call(self, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Await and note the value under the function's own name. Raises TimeoutError after a minute."""
        return await self.within(function.__name__, function(*args, **kwargs))

    async def within(self, name: str, awaited: Awaitable[Any]) -> Any:
        """Await and note the value under a name. Raises TimeoutError naming it after a minute."""
        try:
            value = await asyncio.wait_for(awaited, 60)
        except TimeoutError:
            raise TimeoutError(f"{name}: nothing within a minute") from None
        return self.note(name, value)

    def tell(self) -> None:
        print(json.dumps(self.made))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return repr(value)

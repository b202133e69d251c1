"""What callers may pass: the shape of each method's params, as narrow as its meaning."""

from typing import Annotated, Literal

import msgspec

from actors.flags import FlagMode
from actors.halts import HaltScope
from actors.messages import KillLevel

Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
"""What a person says: one line, nothing that moves a terminal."""

Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[\x21-\x7e]*\Z")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
EventNumber = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Number = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[0-9]{1,20}(\.[0-9]{1,18})?\Z")]
"""A number is a text: JSON's own numbers lose digits in many readers."""

LEVELS = {level.name.lower(): level for level in KillLevel if level is not KillLevel.ARMED}


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Listed(_Params):
    limit: Count = 200
    all: bool = False


class Newest(_Params):
    limit: Count = 50


class Since(_Params):
    """Without `since` the last ones."""

    since: EventNumber | None = None
    limit: Count = 100


class Follow(_Params):
    """Without `since` only what happens from now on."""

    since: EventNumber | None = None


class Screen(_Params):
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class Kill(_Params):
    level: Literal["reduce_only", "cancel_all", "flatten"]
    reason: Text = ""


class Panic(_Params):
    reason: Text = ""


class Arm(_Params):
    reason: Annotated[Text, msgspec.Meta(min_length=1)]


class Drain(_Params):
    on: bool = True
    reason: Text = ""


class Flag(_Params):
    feature: Name
    mode: FlagMode
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    reason: Text = ""


class Limit(_Params):
    key: Name
    value: Number
    instrument: Name = ""
    reason: Text = ""


class Adopted(_Params):
    """`what` is an instrument, an asset, or empty for the account's own mode."""

    account: Name
    reason: Annotated[Text, msgspec.Meta(min_length=1)]
    what: Name = ""


class Halt(_Params):
    scope: HaltScope
    name: Name
    level: Literal["reduce_only", "cancel_all"] = "reduce_only"
    reason: Text = ""


class Release(_Params):
    scope: HaltScope
    name: Name
    reason: Annotated[Text, msgspec.Meta(min_length=1)]


class Seen(_Params):
    number: EventNumber | None = None
    reason: Text = ""

"""When to open and close which basket: exactly as written down, for tests and drills."""

from attrs import Attribute, define, field, frozen

from actors.config_checks import not_negative
from actors.messages import BasketLeg, BookView
from actors.strategies.base import Strategy, StrategyState

_NEXT = "next"


@frozen
class ScriptedAction:
    """At `after_ns` from the start open `basket` with `legs`; without legs, close what was opened under that name."""

    after_ns: int = field(validator=not_negative)
    basket: str
    legs: tuple[BasketLeg, ...] = ()


def _are_coherent(
    instance: object, attribute: "Attribute[tuple[ScriptedAction, ...]]", value: tuple[ScriptedAction, ...]
) -> None:
    opened: set[str] = set()
    last = 0
    for number, action in enumerate(value):
        where = f"{attribute.name}[{number}]"
        if action.after_ns < last:
            raise ValueError(f"{where}.after_ns: {action.after_ns} is before the action above")
        last = action.after_ns
        if action.legs and action.basket in opened:
            raise ValueError(f"{where}.basket: {action.basket!r} is opened twice")
        if not action.legs and action.basket not in opened:
            raise ValueError(f"{where}.basket: {action.basket!r} was not opened before")
        opened.add(action.basket)


@frozen
class ScriptedConfig:
    """`actions` in order of time."""

    actions: tuple[ScriptedAction, ...] = field(default=(), validator=_are_coherent)


@define
class ScriptedState(StrategyState):
    """`done` actions are behind; `ids` are basket ids by the script's names."""

    started_ns: int = 0
    done: int = 0
    ids: dict[str, str] = field(factory=dict)


class Scripted(Strategy):
    """Performs its actions in order, each at its time or, later, once every book it needs is live.

    A close waits until its basket is open and is left out when the basket is gone.
    """

    Config = ScriptedConfig
    State = ScriptedState

    state: ScriptedState
    config: ScriptedConfig

    def on_start(self, now: int) -> None:
        self.state.started_ns = now
        self._arm(now)

    def on_restart(self, now: int) -> None:
        self._arm(now)

    def on_clock(self, now: int, key: str) -> None:
        self._go_on(now)

    def on_book(self, now: int, view: BookView) -> None:
        self._go_on(now)

    def _arm(self, now: int) -> None:
        if self.state.done < len(self.config.actions):
            due = self.state.started_ns + self.config.actions[self.state.done].after_ns
            self.out.timer(_NEXT, max(now, due))

    def _go_on(self, now: int) -> None:
        actions, state = self.config.actions, self.state
        while state.done < len(actions):
            action = actions[state.done]
            if now < state.started_ns + action.after_ns or not self._perform(now, action):
                return
            state.done += 1
            self._arm(now)

    def _perform(self, now: int, action: ScriptedAction) -> bool:
        """Do the action; False while it has to wait."""
        if action.legs:
            if any(self.book(leg.instrument) is None for leg in action.legs):
                return False
            self.state.ids[action.basket] = self.open_basket(now, *action.legs)
            return True
        basket_id = self.state.ids[action.basket]
        basket = self.baskets.get(basket_id)
        if basket is None:
            return True
        if not self.is_open(basket_id) or any(self.book(leg.instrument) is None for leg in basket.legs):
            return False
        return self.close_basket(now, basket_id) is not None

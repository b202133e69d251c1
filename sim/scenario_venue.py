"""Decides what a scenario's `venue` object says beyond rules and fees: fund, other traders, cascades, controls."""

from collections.abc import Callable
from decimal import Decimal

from attrs import evolve

from sim.population import Population, participants
from sim.scenario_controls import checked, read_controls
from sim.scenario_events import symbol_in
from sim.scenario_fields import Fields, ScenarioError, array, boolean, decimal, integer, join, one_of, text
from sim.venue_settings import CascadeModel, Impact, Participant, Stake, VenueSettings
from venues.model.account import Account, PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.rules.calendar import session
from venues.rules.contracts import parse_contract
from venues.rules.errors import OutsideTableError, RuleError
from venues.rules.instants import instant_of

ReadAccount = Callable[[Fields, str], Account]
"""Read the account called so from an object of the scenario's `account` form."""

_IMPACTS = {impact.value: impact for impact in Impact}


def read_settings(
    fields: Fields, specs: dict[str, Instrument], seed: int, epoch: int, asset_account: ReadAccount, own: str
) -> VenueSettings:
    """Return the venue's settings. Raises ScenarioError naming the first offending key."""
    default = VenueSettings()
    fund = fields.maybe("insurance", Fields) or Fields({}, fields.at("insurance"))
    start = fund.get("start", decimal, default.insurance_start)
    reserve = fund.get("reserve", decimal, default.insurance_reserve)
    fund.done()
    seated = _participants(fields, specs, asset_account)
    for index, value in enumerate(fields.maybe("populations", array) or ()):
        seated += _population(
            Fields(value, join(fields.at("populations"), index)), specs, seed + index, f"crowd{index}-"
        )
    names = [own, *(each.account.id for each in seated)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ScenarioError(fields.at("participants"), f"{name!r} is the name of another account")
    settings = checked(
        fund, {"insurance_start": "start", "insurance_reserve": "reserve"}, lambda: VenueSettings(start, reserve)
    )
    calendar = fields.get("calendar", boolean, False)
    return evolve(
        settings,
        participants=tuple(seated),
        cascade=fields.maybe("cascade", _cascade),
        controls=read_controls(fields.maybe("controls", Fields), specs, epoch, calendar),
        calendar=calendar,
        daily_settlement=_daily_settlement(fields, calendar),
        base_fees=fields.get("base_fees", boolean, False),
    )


def check_calendar(settings: VenueSettings, specs: dict[str, Instrument], epoch: int, rules: str, path: str) -> None:
    """Refuse a calendar where CME's does not hold: other rules, symbols it does not list, years it does not cover."""
    if not settings.calendar:
        return
    if rules != "cme":
        raise ScenarioError(path, f"{rules} markets never close")
    for spec in specs.values():
        try:
            session(parse_contract(spec.symbol).product, instant_of(epoch), "epoch")
        except OutsideTableError as error:
            raise ScenarioError(error.field if error.field == "epoch" else path, error.why) from None
        except RuleError as error:
            raise ScenarioError(path, error.why) from None


def _daily_settlement(fields: Fields, calendar: bool) -> bool:
    settles = fields.get("daily_settlement", boolean, False)
    if settles and not calendar:
        raise ScenarioError(fields.at("daily_settlement"), "needs the calendar")
    return settles


def _cascade(value: object, path: str) -> CascadeModel:
    fields = Fields(value, path)
    default = CascadeModel()
    impact = fields.get("impact", one_of(_IMPACTS), default.impact)
    kyle_lambda = fields.get("lambda", decimal, ZERO)
    decay = fields.get("decay", decimal, default.decay)
    waves_max = fields.get("waves_max", integer, default.waves_max)
    fields.done()
    return checked(fields, {"kyle_lambda": "lambda"}, lambda: CascadeModel(impact, kyle_lambda, decay, waves_max))


def _participants(fields: Fields, specs: dict[str, Instrument], read_account: ReadAccount) -> list[Participant]:
    found = []
    for index, value in enumerate(fields.maybe("participants", array) or ()):
        one = Fields(value, join(fields.at("participants"), index))
        name = one.need("id", text)
        stakes = [
            _stake(Fields(stake, join(one.at("positions"), number)), specs)
            for number, stake in enumerate(one.maybe("positions", array) or ())
        ]
        account = read_account(one, name)
        _check_sides(one, account, stakes)
        found.append(Participant(account, tuple(stakes)))
    return found


def _check_sides(fields: Fields, account: Account, stakes: list[Stake]) -> None:
    is_hedge = account.position_mode is PositionMode.HEDGE
    for number, stake in enumerate(stakes):
        if (stake.position_side is PositionSide.BOTH) is is_hedge:
            path = join(join(fields.at("positions"), number), "position_side")
            raise ScenarioError(path, f"{stake.position_side} does not go with a {account.position_mode} account")


_POSITION_SIDES = {word: side for side in PositionSide for word in (side.value, side.value.lower())}


def _stake(fields: Fields, specs: dict[str, Instrument]) -> Stake:
    spec = _contract(fields, specs)
    qty = fields.need("qty", decimal)
    if qty % spec.lot_size:
        raise ScenarioError(fields.at("qty"), f"{qty} is not a multiple of the lot {spec.lot_size}")
    price = fields.need("entry_price", decimal)
    side = fields.get("position_side", one_of(_POSITION_SIDES), PositionSide.BOTH)
    fields.done()
    return checked(fields, {}, lambda: Stake(spec.id, qty, price, side))


def _contract(fields: Fields, specs: dict[str, Instrument]) -> Instrument:
    spec = fields.need("symbol", symbol_in(specs))
    if spec.is_spot:
        raise ScenarioError(fields.at("symbol"), f"{spec.symbol} is a spot market: it has no positions")
    return spec


def _population(fields: Fields, specs: dict[str, Instrument], seed: int, prefix: str) -> list[Participant]:
    spec = _contract(fields, specs)
    pairs = fields.need("pairs", integer)
    price = fields.need("price", decimal)
    qty_max = fields.need("qty_max", decimal)
    leverage_max = fields.get("leverage_max", integer, spec.max_leverage)
    spread = fields.get("entry_spread", decimal, Decimal("0.02"))
    isolated = fields.get("isolated", decimal, Decimal("0.5"))
    fields.done()
    return checked(
        fields,
        {},
        lambda: list(
            participants(Population(spec, pairs, price, qty_max, leverage_max, spread, isolated), seed, prefix)
        ),
    )

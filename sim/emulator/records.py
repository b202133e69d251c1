"""What the emulated venue remembers of orders, executions and conditional orders, in Binance's own words."""

from decimal import Decimal

from attrs import define

from venues.model.money import ZERO


@define(eq=False)
class OrderRecord:
    """One order as every answer and event prints it. Times in ms; `avg_price` 0 while nothing traded.

    `status` is NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, EXPIRED_IN_MATCH or REJECTED. `type` is what it is
    now, `orig_type` what it was placed as (a triggered conditional order). `stop_price` is 0 for plain orders.
    `algo_id` is 0 but for what a conditional order became. `amendments` counts its modifies. `quote_order_qty` is what
    a spot order was to spend or get, 0 when it told its quantity.
    """

    symbol: str
    order_id: int
    client_order_id: str
    side: str
    type: str
    orig_type: str
    time_in_force: str
    position_side: str
    price: Decimal
    orig_qty: Decimal
    time_ms: int
    update_ms: int
    status: str = "NEW"
    executed_qty: Decimal = ZERO
    cum_quote: Decimal = ZERO
    stop_price: Decimal = ZERO
    reduce_only: bool = False
    close_position: bool = False
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    price_match: str = "NONE"
    stp_mode: str = "EXPIRE_MAKER"
    good_till_ms: int = 0
    activation_price: Decimal = ZERO
    callback_rate: Decimal = ZERO
    algo_id: int = 0
    amendments: int = 0
    expiry_reason: int = 0
    quote_order_qty: Decimal = ZERO

    @property
    def avg_price(self) -> Decimal:
        return self.cum_quote / self.executed_qty if self.executed_qty else ZERO

    @property
    def is_open(self) -> bool:
        return self.status in {"NEW", "PARTIALLY_FILLED"}


@define(eq=False)
class FillRecord:
    """One execution of the account, as userTrades prints it. `commission` is positive when paid."""

    symbol: str
    trade_id: int
    order_id: int
    client_order_id: str
    side: str
    position_side: str
    price: Decimal
    qty: Decimal
    realized_pnl: Decimal
    commission: Decimal
    commission_asset: str
    time_ms: int
    is_maker: bool

    @property
    def quote_qty(self) -> Decimal:
        return self.price * self.qty


@define(eq=False)
class AlgoRecord:
    """One conditional order of the algo service.

    `status` is NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, EXPIRED or REJECTED; `actual_order_id` is the order it
    became, 0 before. `algo_type` is CONDITIONAL.
    """

    symbol: str
    algo_id: int
    client_algo_id: str
    order_type: str
    side: str
    position_side: str
    time_in_force: str
    qty: Decimal
    trigger_price: Decimal
    price: Decimal
    time_ms: int
    update_ms: int
    status: str = "NEW"
    algo_type: str = "CONDITIONAL"
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    price_match: str = "NONE"
    stp_mode: str = "NONE"
    reduce_only: bool = False
    close_position: bool = False
    activation_price: Decimal = ZERO
    callback_rate: Decimal = ZERO
    good_till_ms: int = 0
    trigger_ms: int = 0
    actual_order_id: int = 0
    actual_price: Decimal = ZERO
    actual_qty: Decimal = ZERO
    actual_type: str = ""
    reject_reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.status == "NEW"


@define(eq=False)
class PositionFigures:
    """One position as positionRisk prints it, in the settlement asset. `liquidation_price` is 0 when there is none."""

    symbol: str
    position_side: str
    amount: Decimal
    entry_price: Decimal
    break_even_price: Decimal
    mark_price: Decimal
    unrealized: Decimal
    liquidation_price: Decimal
    leverage: int
    margin_type: str
    isolated_wallet: Decimal
    isolated_margin: Decimal
    notional: Decimal
    margin_asset: str
    initial_margin: Decimal
    maint_margin: Decimal
    position_initial_margin: Decimal
    open_order_initial_margin: Decimal
    bid_notional: Decimal
    ask_notional: Decimal
    accumulated_realized: Decimal
    max_notional: Decimal
    adl: int
    update_ms: int


@define(eq=False)
class BalanceFigures:
    """One asset as account and balance print it."""

    asset: str
    wallet: Decimal
    cross_wallet: Decimal
    unrealized: Decimal
    cross_unrealized: Decimal
    margin_balance: Decimal
    maint_margin: Decimal
    initial_margin: Decimal
    position_initial_margin: Decimal
    open_order_initial_margin: Decimal
    available: Decimal
    max_withdraw: Decimal
    update_ms: int


@define(eq=False)
class IncomeRecord:
    """One row of the account's income. `kind` is Binance's incomeType."""

    symbol: str
    kind: str
    amount: Decimal
    asset: str
    info: str
    time_ms: int
    tran_id: int
    trade_id: str


@define(eq=False)
class AmendmentRecord:
    """One change of an order, as orderAmendment prints it."""

    symbol: str
    amendment_id: int
    order_id: int
    client_order_id: str
    time_ms: int
    price_before: Decimal
    price_after: Decimal
    qty_before: Decimal
    qty_after: Decimal
    count: int

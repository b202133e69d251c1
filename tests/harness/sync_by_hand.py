"""A position synchronizer with a venue that answers by hand."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actors.base import Collected, detached_outbox
from actors.messages import OrderUpdate, PositionUpdate, WalletUpdate
from actors.position_synchronizer import PositionSynchronizer
from actors.sync_records import Modes, SyncConfig
from venues.model.account import PositionMode
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import Message, PositionReport, Query, QueryKind, QueryResult

D = Decimal
Number = Decimal | int | str
SECOND = 1_000_000_000
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, SPOT)}
CONFIG = SyncConfig()
QUIET = CONFIG.quiet_ns
T = 1_000 * SECOND


class SyncDesk:
    """A synchronizer with a venue that answers by hand; `now` goes on by itself between rounds.

    `wallets` is what the venue has, and what we have until a WalletUpdate says otherwise.
    """

    def __init__(self, leverage: Mapping[str, int] | None = None, modes: Mapping[str, Modes] | None = None) -> None:
        self.sync = PositionSynchronizer(INSTRUMENTS, {"f": "fut", "s": "spot"}, CONFIG, leverage, modes=modes)
        self.done = Collected()
        self.sync.out = detached_outbox("sync", into=self.done)
        self.now = T
        self.wallets = {"f": {"USDT": D(1000)}, "s": {"USDT": D(10)}}
        self.mode = PositionMode.ONE_WAY
        self.sync.start(T)
        for account, wallet in self.wallets.items():
            self.wallet(account, wallet["USDT"])

    def wallet(self, account: str, balance: Number, asset: str = "USDT") -> None:
        self.give(WalletUpdate(self.now, account, asset, D(balance)))

    def give(self, message: Message) -> None:
        self.sync.handle(self.now, message)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.done.emitted if isinstance(one, kind)]

    def sent(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.done.sent if isinstance(one, kind)]

    def queries(self, kind: QueryKind) -> list[Query]:
        return [one for one in self.sent(Query) if one.kind is kind]

    def asked(self, account: str = "f", kind: QueryKind | None = None) -> str:
        """The outstanding query of the account: for positions if there is one."""
        asked = self.sync.state.accounts[account].asked
        return next(query_id for query_id, one in asked.items() if kind in (None, one))

    def answer(self, *held: tuple[Any, ...], account: str = "f") -> None:
        """Answer what is outstanding with (qty, entry, leverage[, margin mode]) of the perpetual, and the wallet."""
        query_id = self.asked(account, QueryKind.POSITIONS)
        reports = tuple(
            PositionReport(
                *(self.now, account, PERP.id, PositionSide.BOTH, D(qty), entry),
                leverage=leverage,
                margin_mode=mode[0] if mode else None,
            )
            for qty, entry, leverage, *mode in held
        )
        self.give(QueryResult(self.now, account, query_id, QueryKind.POSITIONS, positions=reports))
        self.money(account)

    def money(self, account: str) -> None:
        asked = self.sync.state.accounts[account].asked
        for query_id in [one for one, kind in asked.items() if kind is QueryKind.ACCOUNT]:
            self.give(
                QueryResult(
                    *(self.now, account, query_id, QueryKind.ACCOUNT),
                    balances=dict(self.wallets[account]),
                    position_mode=self.mode,
                )
            )

    def balances(self, **balances: Number) -> None:
        self.wallets["s"] |= {asset: D(balance) for asset, balance in balances.items()}
        self.money("s")

    def round(self, account: str = "f") -> None:
        """Let the planned time come and the next round begin."""
        self.now = self.sync.state.accounts[account].next_round_ns or self.now
        self.sync.on_timer(self.now, f"round/{account}")

    def position(self, qty: Number, entry: str = "100", spec: Instrument = PERP, account: str = "f") -> None:
        self.give(
            PositionUpdate(self.now, account, spec.id, PositionSide.BOTH, D(qty), D(entry) if D(qty) else None, ZERO)
        )

    def order(self, status: OrderStatus, is_final: bool = False) -> None:
        self.give(OrderUpdate(self.now, "r", "s", "b", "c", "f", PERP.id, Side.BUY, D(1), status, ZERO, is_final))

"""Which rooms answer for which venue."""

from collections.abc import Mapping

from sim.emulator import (
    routes_account,
    routes_algo,
    routes_batch,
    routes_market,
    routes_marks,
    routes_modes,
    routes_orders,
    routes_spot,
    routes_statistics,
    routes_wallet,
)
from sim.emulator.routes import Routes

USDM: Routes = {
    **routes_wallet.ROUTES,
    **routes_market.ROUTES,
    **routes_marks.ROUTES,
    **routes_statistics.ROUTES,
    **routes_orders.ROUTES,
    **routes_batch.ROUTES,
    **routes_algo.ROUTES,
    **routes_account.ROUTES,
    **routes_modes.ROUTES,
}

SPOT: Routes = {**routes_wallet.ROUTES, **routes_spot.ROUTES}

TABLES: Mapping[str, Routes] = {"usdm": USDM, "spot": SPOT}

"""Who plays the venues of a run.

Importing this imports numba: a process whose venues are elsewhere must not.
"""

from collections.abc import Mapping

from daemon.app import sequence_rule
from daemon.config_schema import RunConfig
from sim.core import Core
from sim.exchange import Seat
from sim.queue_models import make_queue_model
from sim.slippage import SlippageHook
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.book_sync import SequenceRule


def build_seats(
    config: RunConfig, core: Core | None = None, on_slippage: SlippageHook | None = None
) -> dict[str, Seat]:
    """Return a simulated venue with its latencies for each venue of the run; in one `core` where that is given.

    `on_slippage` gets what each fill at venues without books cost.
    """
    seats = {}
    for venue in config.venues.values():
        specs = {one.symbol: one for one in config.instruments.values() if one.venue == venue.id}
        simulated = SimVenue(
            venue.id,
            specs.values(),
            [account.account() for account in config.accounts.values() if account.venue == venue.id],
            FeeTable(FeeSchedule(venue.fees.maker, venue.fees.taker)),
            rules=venue.rules,
            queue_model=venue.queue_model,
            seed=config.run.seed,
            core=core,
            execution=venue.parametric,
            on_slippage=on_slippage,
            settings=venue.simulation.settings(specs, config.run.seed),
        )
        seats[venue.id] = Seat(simulated, venue.latency.entry_ns, venue.latency.response_ns)
    return seats


def build_core(config: RunConfig) -> Core:
    """Return one compiled venue for all venues of a run; its instruments are numbered as in the configuration."""
    return Core.make(
        [(one, make_queue_model(config.venues[one.venue].queue_model)) for one in config.instruments.values()]
    )


def markets(config: RunConfig, seats: Mapping[str, Seat]) -> dict[str, tuple[Seat, SequenceRule]]:
    """Return for each instrument the seat whose book it is and how its feed is numbered."""
    return {one.id: (seats[one.venue], sequence_rule(config, one.venue)) for one in config.instruments.values()}

"""Which reports of what holds are older than one that was told: two connections are not in step."""

from collections.abc import Sequence

from venues.port import AccountReport, PositionReport, Report


class Newest:
    """Lets through what is not older than what was let through before, position by position and asset by asset."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], int] = {}
        self.outdated = 0

    def pick(self, reports: Sequence[Report]) -> list[Report]:
        """Return `reports` without positions and balances of before the last ones told."""
        found: list[Report] = []
        for report in reports:
            if isinstance(report, PositionReport):
                if not self._is_new((report.instrument, report.position_side), report.ts):
                    continue
            elif isinstance(report, AccountReport):
                balances = {
                    asset: one for asset, one in report.balances.items() if self._is_new(("", asset), report.ts)
                }
                if not balances:
                    continue
                report.balances = balances
            found.append(report)
        return found

    def _is_new(self, key: tuple[str, str], ts: int) -> bool:
        if ts < self._told.get(key, 0):
            self.outdated += 1
            return False
        self._told[key] = ts
        return True

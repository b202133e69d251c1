"""What fills at venues without books cost beyond their reference, counted by instrument for the summary of a run."""

from attrs import define, field

from sim.slippage import SlippageReport


@define
class _Total:
    """`fills` are those that took; `absent` counts by input how often it was not known."""

    fills: int = 0
    sum_bps: float = 0.0
    worst_bps: float = 0.0
    clipped: int = 0
    absent: dict[str, int] = field(factory=dict)


@define
class SlippageTotals:
    """Give `add` each report; resting orders, which trade at their own price, do not count."""

    _totals: dict[str, _Total] = field(factory=dict)

    def add(self, report: SlippageReport) -> None:
        if not report.parts:
            return
        total = self._totals.setdefault(report.instrument, _Total())
        total.fills += 1
        total.sum_bps += report.slippage_bps
        total.worst_bps = max(total.worst_bps, report.slippage_bps)
        total.clipped += report.is_clipped
        for name in report.absent:
            total.absent[name] = total.absent.get(name, 0) + 1

    def by_instrument(self) -> dict[str, dict[str, object]]:
        """Return the counts by instrument, fit for JSON."""
        return {
            name: {
                "fills": total.fills,
                "mean_bps": round(total.sum_bps / total.fills, 6),
                "worst_bps": round(total.worst_bps, 6),
                "clipped": total.clipped,
                "absent": dict(sorted(total.absent.items())),
            }
            for name, total in sorted(self._totals.items())
        }

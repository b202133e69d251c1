"""Why a store of rows is refused."""

from pathlib import Path


class StoreError(Exception):
    """A store that cannot be written, read or believed. `batch` counts from 0, None where no batch is at fault."""

    def __init__(self, path: Path, why: str, batch: int | None = None) -> None:
        self.path = path
        self.why = why
        self.batch = batch
        super().__init__(f"{path}: {why}" if batch is None else f"{path}: batch {batch}: {why}")


class RowError(ValueError):
    """A row that breaks the rules of sim.rows. `row` counts from 0 among all rows of a market."""

    def __init__(self, row: int, why: str) -> None:
        self.row = row
        self.why = why
        super().__init__(f"row {row}: {why}")

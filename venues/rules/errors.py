"""Why a venue rule cannot answer: every refusal names the field that is wrong."""


class RuleError(ValueError):
    """A question that has no answer. `field` names what is wrong with it, `why` says how."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class BadValueError(RuleError):
    """A value that cannot be: not finite, negative, zero where none can be, crossed with another."""


class UnknownProductError(RuleError):
    """A product, symbol or contract that the tables do not hold."""


class OutsideTableError(RuleError):
    """A date, notional or level beyond what the dated tables cover."""


class BadTableError(RuleError):
    """A table that contradicts itself."""

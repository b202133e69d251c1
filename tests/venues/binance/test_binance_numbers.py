"""Which texts are numbers in private answers and events."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.reading import amount, not_negative, positive, price_or_none

D = Decimal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", D(0)),
        ("60000.05", D("60000.05")),
        ("-0.37500000", D("-0.375")),
        ("0E-8", D(0)),
        ("1.5E+3", D(1500)),
        ("9" * 20 + "." + "9" * 20, D("9" * 20 + "." + "9" * 20)),
    ],
)
def test_a_number(text: str, number: Decimal):
    assert amount(text, "x") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "1.2.3",
        "+1",
        " 1",
        "1 ",
        "1_000",
        "1e5",
        "1E400",
        "NaN",
        "sNaN",
        "-Infinity",
        "0x1",
        "٣",
        "²",
        "9" * 21,
    ],
)
def test_what_is_no_number(text: str):
    with pytest.raises(CodecError) as error:
        amount(text, "walletBalance")
    assert error.value.reason is CodecErrorReason.BAD_NUMBER
    assert error.value.detail.startswith("walletBalance")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=8))
def test_what_the_venue_prints_is_read_to_the_digit(number: Decimal):
    assert amount(format(number, "f"), "x") == number


@given(st.text(max_size=24))
def test_no_text_makes_anything_but_a_finite_number(text: str):
    with suppress(CodecError):
        assert amount(text, "x").is_finite()


def test_bounds():
    assert (not_negative("0", "x"), positive("0.1", "x"), price_or_none("0.000", "x"), price_or_none("", "x")) == (
        D(0),
        D("0.1"),
        None,
        None,
    )
    for read, text in ((not_negative, "-0.1"), (positive, "0"), (positive, "-1"), (price_or_none, "-1")):
        with pytest.raises(CodecError):
            read(text, "x")

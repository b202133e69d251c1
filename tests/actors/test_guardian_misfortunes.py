"""Whatever fails on the way, the guard ends with a flat book and sells nothing that is not the desk's."""

from guard_harness import MS, PERP, SECOND, SPOT, D, Rig, flatten
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.guardian_records import Course


def is_flat(made: Rig) -> bool:
    return made.guardian.state.flattening.course is Course.FLAT


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_fails_on_the_way_the_book_ends_flat_and_nothing_is_sold_twice(data):
    draw = data.draw
    qty = D(draw(st.integers(1, 3_000))) / 1000
    made = Rig(btc="0.5")
    made.hold("cash", SPOT, str(qty))
    extra = D(draw(st.integers(-1_000, 1_000))) / 1000
    if qty - extra:
        made.hold("fut", PERP, str(extra - qty))
    made.start()
    shares = st.sampled_from([0, 0, 0, 1, 2])
    until = made.now + 8 * SECOND
    lossy = draw(shares)

    def unlucky(_: object) -> bool:
        return made.now < until and draw(st.integers(0, 9)) < lossy

    made.loses = unlucky
    made.refuses = unlucky
    for _ in range(draw(st.integers(0, 3))):
        spec = draw(st.sampled_from([PERP, SPOT]))
        size, price = draw(st.sampled_from(["0.1", "0.7", "50"])), draw(st.integers(9_700, 10_300))
        made.at(draw(st.integers(1, 3_000)) * MS, lambda s=spec, q=size, p=price: made.quote(s, q, p, levels=2))  # type: ignore[misc]
        venue = draw(st.sampled_from(["spot", "perp"]))
        down = draw(st.integers(1, 4_000))
        made.at(down * MS, lambda v=venue: made.go_down(v))  # type: ignore[misc]
        made.at((down + draw(st.integers(1, 2_000))) * MS, lambda v=venue: made.come_up(v))  # type: ignore[misc]
    floor = ceiling = D(0)

    def watch() -> None:
        nonlocal floor, ceiling
        floor = min(floor, made.position("cash", SPOT) - D("0.5"))
        ceiling = max(ceiling, abs(made.position("fut", PERP)))
        if not is_flat(made):
            made.at(MS, watch)

    made.at(MS, watch)
    made.at(9 * SECOND, lambda: made.quote(PERP))
    made.at(9 * SECOND, lambda: made.quote(SPOT))
    flatten(made)
    made.run_until(lambda: is_flat(made))
    assert is_flat(made), made.guardian.state.flattening
    assert abs(made.position("fut", PERP)) == 0
    assert made.position("cash", SPOT) - D("0.5") < SPOT.min_notional / 9_000
    assert floor == 0, "what was there before is not sold"
    assert ceiling <= abs(extra - qty), "no position grows"

"""Where displayed quantities are: setting a level, reading it, finding the best and the next."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from sim.kernel.compiled import compiled, inlined
from sim.kernel.layout import NO_ASK, NO_BID, PAGE_BITS, PAGE_TICKS, PAGE_WORDS, SELL_SIDE, WORD_BITS, Kernel

_IN_PAGE = PAGE_TICKS - 1
_IN_WORD = (1 << WORD_BITS) - 1


def _trailing(typing_context: Any, word: Any) -> Any:
    """Return the index of the lowest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        undefined = context.get_constant(types.boolean, True)
        return builder.cttz(arguments[0], undefined)

    return types.uint64(types.uint64), generate


def _leading(typing_context: Any, word: Any) -> Any:
    """Return how many zeros a word that is not zero begins with."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        undefined = context.get_constant(types.boolean, True)
        return builder.ctlz(arguments[0], undefined)

    return types.uint64(types.uint64), generate


_lowest_bit: Any = intrinsic(_trailing)
_leading_zeros: Any = intrinsic(_leading)


@inlined
def page_of(k: Kernel, book: int, ticks: int) -> int:
    """Return the page of a price, -1 when it has none."""
    entry = (ticks >> PAGE_BITS) - k.base[book]
    if entry < 0 or entry >= k.directory.shape[1]:
        return -1
    return k.directory[book, entry]


@inlined
def lots_at(k: Kernel, book: int, ticks: int) -> int:
    """Return the quantity displayed at a price."""
    entry = (ticks >> PAGE_BITS) - k.base[book]
    if entry < 0 or entry >= k.directory.shape[1]:
        return 0
    page = k.directory[book, entry]
    return k.lots[page, ticks & _IN_PAGE] if page >= 0 else 0


@compiled
def add_page(k: Kernel, book: int, ticks: int) -> int:
    """Return the page of a price, taking a free one; -1 when there is none, or the price is off the directory."""
    entry = (ticks >> PAGE_BITS) - k.base[book]
    if entry < 0 or entry >= k.directory.shape[1]:
        return -1
    page = k.directory[book, entry]
    registers = k.registers[0]
    if page < 0 and registers.pages < len(k.used):
        page = registers.pages
        k.directory[book, entry] = page
        registers.pages += 1
    return page


@inlined
def set_lots(k: Kernel, book: int, ticks: int, lots: int) -> bool:
    """Display `lots` at a price, 0 removes the level. Returns False, having done nothing, when there is no room."""
    entry = (ticks >> PAGE_BITS) - k.base[book]
    page = -1
    if 0 <= entry < k.directory.shape[1]:
        page = k.directory[book, entry]
    if page < 0:
        if lots == 0:
            return True
        page = add_page(k, book, ticks)
        if page < 0:
            return False
    at = ticks & _IN_PAGE
    before = k.lots[page, at]
    k.lots[page, at] = lots
    if lots > 0:
        if before == 0:
            k.bits[page, at >> WORD_BITS] |= types.uint64(1) << types.uint64(at & _IN_WORD)
            k.used[page] += 1
            best = k.best[book]
            if (ticks < best) if book & 1 == SELL_SIDE else (ticks > best):
                k.best[book] = ticks
    elif before > 0:
        k.bits[page, at >> WORD_BITS] &= ~(types.uint64(1) << types.uint64(at & _IN_WORD))
        k.used[page] -= 1
        if ticks == k.best[book]:
            k.best[book] = next_level(k, book, ticks)
    return True


@compiled
def next_level(k: Kernel, book: int, ticks: int) -> int:
    """Return the best occupied price behind `ticks`, NO_BID or NO_ASK when there is none."""
    if book & 1 == SELL_SIDE:
        return _above(k, book, ticks + 1)
    return _below(k, book, ticks - 1)


@compiled
def _below(k: Kernel, book: int, ticks: int) -> int:
    entry = (ticks >> PAGE_BITS) - k.base[book]
    at = ticks & _IN_PAGE
    if entry >= k.directory.shape[1]:
        entry, at = k.directory.shape[1] - 1, _IN_PAGE
    while entry >= 0:
        page = k.directory[book, entry]
        if page >= 0 and k.used[page] > 0:
            word = at >> WORD_BITS
            found = k.bits[page, word] & (~types.uint64(0) >> types.uint64(_IN_WORD - (at & _IN_WORD)))
            while found == 0 and word > 0:
                word -= 1
                found = k.bits[page, word]
            if found != 0:
                bit = _IN_WORD - types.int64(_leading_zeros(found))
                return ((entry + k.base[book]) << PAGE_BITS) + (word << WORD_BITS) + bit
        entry -= 1
        at = _IN_PAGE
    return NO_BID


@compiled
def _above(k: Kernel, book: int, ticks: int) -> int:
    entry = (ticks >> PAGE_BITS) - k.base[book]
    at = ticks & _IN_PAGE
    if entry < 0:
        entry, at = 0, 0
    while entry < k.directory.shape[1]:
        page = k.directory[book, entry]
        if page >= 0 and k.used[page] > 0:
            word = at >> WORD_BITS
            found = k.bits[page, word] & (~types.uint64(0) << types.uint64(at & _IN_WORD))
            while found == 0 and word < PAGE_WORDS - 1:
                word += 1
                found = k.bits[page, word]
            if found != 0:
                bit = types.int64(_lowest_bit(found))
                return ((entry + k.base[book]) << PAGE_BITS) + (word << WORD_BITS) + bit
        entry += 1
        at = 0
    return NO_ASK


@compiled
def clear_book(k: Kernel, book: int) -> None:
    """Remove every level."""
    for entry in range(k.directory.shape[1]):
        page = k.directory[book, entry]
        if page >= 0 and k.used[page] > 0:
            k.lots[page, :] = 0
            k.bits[page, :] = 0
            k.used[page] = 0
    k.best[book] = NO_ASK if book & 1 == SELL_SIDE else NO_BID


@compiled
def is_level(ticks: int) -> bool:
    """Whether a best price is one, and not the mark of an empty side."""
    return NO_BID < ticks < NO_ASK


@compiled
def read_levels(k: Kernel, book: int, ticks: Any, lots: Any) -> int:
    """Copy the levels, best first, until they or the arrays end; return how many."""
    count = 0
    price = k.best[book]
    while is_level(price) and count < len(ticks):
        ticks[count] = price
        lots[count] = lots_at(k, book, price)
        count += 1
        price = next_level(k, book, price)
    return count

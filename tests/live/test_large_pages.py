"""What is set aside: whole large pages of a process's own memory, and nothing of files."""

import gc

from daemon.live.memory import _ranges, set_aside

MAPS = """\
55d0c8a00000-55d0c9000000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0010000000-7f0020000000 rw-p 00000000 fe:00 12345                      /usr/lib/some library.so
7f0030000000-7f0040000000 r--p 00000000 00:00 0
7f0050000000-7f0060000000 rw-s 00000000 00:01 7                          /dev/zero (deleted)
7ffd00000000-7ffd10000000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_large_pages_of_the_processs_own_memory() -> None:
    assert list(_ranges(MAPS)) == [
        (0x55D0C8A00000, 0x55D0C9000000),
        (0x7F0000200000, 0x7F0000600000),
    ]


def test_what_is_loaded_is_not_looked_through_again() -> None:
    try:
        set_aside()
        assert gc.get_freeze_count() > 0
        assert all(one is not gc for one in gc.get_objects())
    finally:
        gc.unfreeze()

"""Whether a process that goes on for hours holds more and more: memory, tasks, descriptors."""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median

import trio
from attrs import frozen

_MIB = 2**20
_HOUR_S = 3_600.0
_NOISE_MIB = 1.5
"""What a short run's memory may grow without saying anything about an hour: an arena or two of the allocator's."""

GROWTH_MIB_PER_HOUR = 1.0
WARM_UP = 0.2
"""The share of a run that is not judged."""


@frozen
class SoakSettings:
    """`rate` in frames a second, `cut_s` between cuts, `sample_s` between looks at memory, tasks and descriptors."""

    seconds: float = 900.0
    rate: int = 2_000
    cut_s: float = 60.0
    sample_s: float = 5.0


def parser(text: str) -> ArgumentParser:
    """Return what reads the settings of a soak from a command line; `text` describes it."""
    defaults = SoakSettings()
    made = ArgumentParser(description=text, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--seconds", type=float, default=defaults.seconds)
    made.add_argument("--rate", type=int, default=defaults.rate, help="frames a second")
    made.add_argument("--cut", type=float, default=defaults.cut_s, help="seconds between cuts")
    made.add_argument("--sample", type=float, default=defaults.sample_s, help="seconds between samples")
    return made


def settings_of(told: Namespace) -> SoakSettings:
    return SoakSettings(told.seconds, told.rate, told.cut, told.sample)


@frozen
class Sample:
    """What the process holds at an instant; `is_steady` while nothing is being replaced."""

    at_s: float
    memory_mib: float
    tasks: int
    descriptors: int
    is_steady: bool


@frozen
class Growth:
    """The first third of what is judged against the last; `broken` says what grew."""

    memory_first_mib: float
    memory_last_mib: float
    growth_mib_per_hour: float
    tasks: tuple[int, int]
    descriptors: tuple[int, int]
    broken: tuple[str, ...]


async def watch(
    samples: list[Sample], every_s: float, is_steady: Callable[[], bool], so_far: Callable[[], str]
) -> None:
    """Add a sample of this process now and then, for ever, and tell it with `so_far` on standard error."""
    page, began = os.sysconf("SC_PAGE_SIZE"), trio.current_time()
    while True:
        await trio.sleep(every_s)
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * page / _MIB
        tasks, descriptors = trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))
        samples.append(Sample(trio.current_time() - began, memory, tasks, descriptors, is_steady()))
        print(
            f"{samples[-1].at_s:8.0f} s {memory:7.1f} MiB {tasks:4} tasks {descriptors:4} descriptors  {so_far()}",
            file=sys.stderr,
            flush=True,
        )


def judge(samples: Sequence[Sample], seconds: float, growth_mib_per_hour: float = GROWTH_MIB_PER_HOUR) -> Growth:
    """Return what a run of `seconds` grew by after its warm-up. Raises ValueError for too few samples."""
    judged = [sample for sample in samples if sample.at_s >= seconds * WARM_UP]
    if len(judged) < 3:
        raise ValueError(f"{len(judged)} samples in {seconds:g} s say nothing")
    third = len(judged) // 3
    first, last = judged[:third], judged[-third:]
    hours = max(fmean(one.at_s for one in last) - fmean(one.at_s for one in first), 1.0) / _HOUR_S
    began_mib, ended_mib = median(one.memory_mib for one in first), median(one.memory_mib for one in last)
    broken = []
    if ended_mib - began_mib > max(_NOISE_MIB, growth_mib_per_hour * hours):
        broken.append(f"memory grew from {began_mib:.1f} to {ended_mib:.1f} MiB")
    tasks, descriptors = ((_least(first, what), _least(last, what)) for what in ("tasks", "descriptors"))
    for what, (before, after) in (("tasks", tasks), ("descriptors", descriptors)):
        if after > before:
            broken.append(f"{before} {what} became {after}")
    return Growth(began_mib, ended_mib, (ended_mib - began_mib) / hours, tasks, descriptors, tuple(broken))


def _least(samples: Sequence[Sample], what: str) -> int:
    """The smallest count among steady samples: what is merely under way is not always there, a leak is."""
    return min((int(getattr(sample, what)) for sample in samples if sample.is_steady), default=0)

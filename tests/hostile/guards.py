"""Limits of time and memory on one call."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support.frameworks import BACKENDS

import tensormoe as tm

# Of the processor's time: other processes share the machine.
SECONDS = 5.0
# Above what the machine is said to have: compilers and pools of memory take their share.
MARGIN = 2**29
PRESENT = 200 * 2**20


class TooSlow(BaseException):
    """Not an Exception, so that nothing takes it for a fault of a user's function."""


@cache
def _warm_up() -> None:
    """Let frameworks start their threads and pools, which take memory of their own."""
    for name in BACKENDS:
        layer = tm.build(tm.MuMoESpec(3, 2, 4, tm.CP(2)), name, seed=0)
        layer(tm.get_backend(name).from_float64(np.ones((2, 3)), "float32"))


@contextmanager
def limits() -> Iterator[None]:
    """Interrupt a call that takes more than 5 seconds or 200 MB beyond what is in use."""

    _warm_up()

    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + PRESENT + MARGIN, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)

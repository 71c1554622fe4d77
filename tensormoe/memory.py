"""The memory that something needs, compared with what there is before it is asked for."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from .errors import TensorMoEError

# What any machine has is not looked up.
_SMALL = 2**26
# Where Linux says how much a container may have.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@cache
def host_memory() -> int | None:
    """The bytes of memory that this process may have; None if the system doesn't say."""
    limits = [int(text) for path in _LIMITS if (text := _read(path)).isdigit()]
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def check_memory(argument: str, received: object, what: str, needed: int, present: int | None) -> None:
    """Raise an error if `what` needs more bytes than are present; None is any number.

    Examples:
        >>> from tensormoe.memory import check_memory
        >>> check_memory("n", 9, "cores", needed=37 * 2**30, present=2**34)
        Traceback (most recent call last):
        tensormoe.errors.TensorMoEError: n: received 9; cores need 37 GiB of memory, but there are only 16 GiB
    """
    if needed > _SMALL and present is not None and needed > present:
        remedy = f"{what} need {_in_units(needed)} of memory, but there are only {_in_units(present)}"
        raise TensorMoEError(argument, received, remedy)


def _in_units(count: int) -> str:
    # Integers throughout: a product of many sizes exceeds every float.
    power = min((count.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{count >> 10 * power:,} {_UNITS[power]}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

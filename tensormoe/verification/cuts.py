"""What stands in brackets behind an array, as a range of each axis."""

from typing import Any


def read_cuts(key: Any, count: int) -> list[slice] | None:
    """One slice for each axis; None for anything but ranges of as many axes.

    Args:
        key: what `array[key]` hands to the array.
        count: of the array's axes.

    Examples:
        >>> from tensormoe.verification.cuts import read_cuts
        >>> read_cuts((..., slice(0, 2)), 3)
        [slice(None, None, None), slice(None, None, None), slice(0, 2, None)]
        >>> read_cuts(0, 3)
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    missing = [slice(None)] * (count - len(keys) + (Ellipsis in keys))
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = missing
    else:
        keys += missing
    if len(keys) != count or not all(isinstance(cut, slice) and cut.step in (None, 1) for cut in keys):
        return None
    return keys

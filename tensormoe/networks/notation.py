"""Index notation: one line that lists the cores of a tensor network by their indices.

    "n r, i r, o r"        three cores: (n, r), (i, r) and (o, r)

`i` and `o` are the input and output modes, `n` (or `n1`, `n2`, … with several expert levels) the expert
modes. Every other name is a bond. A bond that occurs in more than two cores is a hyperedge.
"""

import re
from collections.abc import Iterable

from ..errors import TensorMoEError

INPUT, OUTPUT = "i", "o"
# No name, so that no bond can be called the same.
BATCH = "…"

Indices = tuple[str, ...]

_NAME = re.compile(r"[A-Za-z]\w*")
_EXPERT = re.compile(r"n\d*")


def expert_modes(levels: int) -> Indices:
    """Names of the expert modes: `("n",)` for one level, else `("n1", …, "nE")`.

    Examples:
        >>> from tensormoe import expert_modes
        >>> expert_modes(1), expert_modes(3)
        (('n',), ('n1', 'n2', 'n3'))
    """
    return ("n",) if levels == 1 else tuple(f"n{level + 1}" for level in range(levels))


def modes(levels: int) -> Indices:
    """The open indices of a network in the order of the weight tensor: experts, input, output."""
    return (*expert_modes(levels), INPUT, OUTPUT)


def is_mode(name: str) -> bool:
    """Whether `name` denotes an expert, input or output mode rather than a bond."""
    return name in (INPUT, OUTPUT) or _EXPERT.fullmatch(name) is not None


def parse(notation: str) -> tuple[Indices, ...]:
    """Split index notation into the indices of each core.

    Raises:
        TensorMoEError: not text, an empty core, a malformed name, or an index twice in one core.
    """
    if not isinstance(notation, str):
        raise TensorMoEError("notation", notation, 'pass a text such as "n r, i r, o r"')
    cores = tuple(tuple(core.split()) for core in notation.split(","))
    for number, core in enumerate(cores, start=1):
        if not core:
            raise TensorMoEError(
                "notation", notation, f"core {number} is empty: name its indices, apart by spaces"
            )
        for name in core:
            _check_name(notation, number, name, core)
    return cores


def _check_name(notation: str, number: int, name: str, core: Indices) -> None:
    where = f"index {name!r} of core {number}"
    if not _NAME.fullmatch(name):
        raise TensorMoEError(
            "notation",
            notation,
            f"{where} is no name: use letters, digits and '_', spaces between indices, commas between cores",
        )
    if core.count(name) > 1:
        raise TensorMoEError(
            "notation", notation, f"{where} occurs twice in that core: write a diagonal as its own core"
        )


def at_levels(notation: str, levels: int) -> str:
    """The notation with every core that carries `n` repeated for each of several expert levels.

    Examples:
        >>> from tensormoe.networks.notation import at_levels
        >>> at_levels("n r, i r, o r", levels=2)
        'n1 r, n2 r, i r, o r'
    """
    cores = parse(notation)
    names = {name for core in cores for name in core}
    if levels == 1 or any(name != "n" and _EXPERT.fullmatch(name) for name in names):
        return notation
    repeated = [
        tuple(mode if name == "n" else name for name in core)
        for core in cores
        for mode in (expert_modes(levels) if "n" in core else ("n",))
    ]
    return ", ".join(" ".join(core) for core in repeated)


def bond_names(cores: Iterable[Indices]) -> Indices:
    """The bonds in order of first appearance."""
    return tuple(dict.fromkeys(name for core in cores for name in core if not is_mode(name)))


def check_modes(notation: str, cores: tuple[Indices, ...], levels: int) -> tuple[Indices, ...]:
    """Check that the cores carry exactly the modes of a layer with `levels` expert levels.

    Returns the cores, with `n1` renamed to `n` where there is one level only.

    Raises:
        TensorMoEError: a mode is in no core, has two names, or belongs to no level.
    """
    if levels == 1:
        if {"n", "n1"} <= {name for core in cores for name in core}:
            raise TensorMoEError("notation", notation, "n and n1 are the same mode: use one of them")
        cores = tuple(tuple("n" if name == "n1" else name for name in core) for core in cores)
    wanted = modes(levels)
    present = {name for core in cores for name in core if is_mode(name)}
    for name in sorted(present - set(wanted)):
        raise TensorMoEError(
            "notation",
            notation,
            f"mode {name!r} belongs to no expert level: with {levels} level(s) of experts the modes are "
            + ", ".join(wanted),
        )
    for name in wanted:
        if name not in present:
            raise TensorMoEError(
                "notation",
                notation,
                f"mode {name!r} is in no core: with {levels} level(s) of experts the modes are "
                + ", ".join(wanted),
            )
    return cores

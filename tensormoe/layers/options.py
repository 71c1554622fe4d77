"""The fields of specifications that have defaults, for constructors that pass them on.

A framework's own constructors take `**options: Unpack[LayerOptions]`, so that a new field of a specification
is written in two places: there and here.
"""

from collections.abc import Sequence
from typing import TypedDict

from ..gates.gate import Gate
from ..programs.path import AnyOptimize


class LayerOptions(TypedDict, total=False):
    """What `MuMoESpec` takes by keyword."""

    gate: Gate
    bias: bool
    optimize: AnyOptimize
    memory_limit: int | None


class BlockOptions(TypedDict, total=False):
    """What `MuMoEBlockSpec` takes by keyword."""

    gate: Gate
    bias: bool
    nonlinearity: str
    input_norm: bool
    optimize: AnyOptimize | Sequence[AnyOptimize]
    memory_limit: int | None

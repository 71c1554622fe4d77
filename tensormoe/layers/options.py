"""The fields of specifications that have defaults, for constructors that pass them on.

A framework's own constructors take `**options: Unpack[LayerOptions]`, so that a new field of a specification
is written in two places: there and here.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import TypedDict

from ..arrays.protocols import Nonlinearity
from ..errors import one_of
from ..gates.gate import Gate
from ..programs.path import AnyOptimize

# How cores start; see `tensormoe.layers.initialization`.
INITIALIZATIONS = ("linear", "published")


class LayerOptions(TypedDict, total=False):
    """What `MuMoESpec` takes by keyword."""

    gate: Gate | Sequence[Gate] | None
    bias: bool
    optimize: AnyOptimize
    memory_limit: int | None
    initialization: str
    gate_features: int | None
    output_bias: bool


class BlockOptions(TypedDict, total=False):
    """What `MuMoEBlockSpec` takes by keyword."""

    gate: Gate | Sequence[Gate] | None
    bias: bool | Sequence[bool]
    nonlinearity: Nonlinearity
    gated: bool
    input_norm: bool
    optimize: AnyOptimize | Sequence[AnyOptimize]
    memory_limit: int | None
    initialization: str
    gate_features: int | None
    output_bias: bool
    shared: str | Sequence[str]


def check_keywords(module: object, options: Mapping[str, object], fields: type) -> None:
    """Raise an error that names the class that is called, for a keyword that it does not take."""
    kind = type(module)
    known = tuple(fields.__annotations__)
    for option in options.keys() - {*known}:
        parameters = signature(kind.__init__).parameters.values()
        own = (parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY)
        one_of(f"option of {kind.__name__}", option, (*own, *known))

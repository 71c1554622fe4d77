"""What tracers ask of code that they trace: the one place that says why.

**Constants come from functions.** torch.compile may take a float that it finds in a module or in an object
for a variable, and its graph then has an unknown number in it. A number that a formula needs is therefore a
literal in the function, or what a function returns.

**A multiplication comes last.** XLA's algebra undoes a subtraction that is there for its rounding, and
compilers fuse a product with a subtraction that follows it, so that z less z is not 0: see `gates/entmax.py`.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def make_constant(function: Function) -> Function:
    """Have torch.compile call a function while it traces, take the result as a constant, and look no further.

    It is what `torch.compiler.assume_constant_result` does, which would need PyTorch; elsewhere it is idle.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

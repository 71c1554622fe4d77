"""What tracers require of the code they trace, and why.

**Constants come from functions.** torch.compile may treat a float in a module or an object as a variable, and
its graph then contains an unknown number. So a number that a formula needs is a literal in the function, or a
function's return value.

**A multiplication comes last.** XLA's algebra removes a subtraction whose purpose is its rounding, and
compilers fuse a product with the subtraction that follows it; then z − z is not 0: see `gates/entmax.py`.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def make_constant(function: Function) -> Function:
    """Have torch.compile call a function while it traces, and take the result as a constant.

    `torch.compiler.assume_constant_result` does the same but needs PyTorch. Elsewhere this has no effect.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

"""Specifications of any type as JSON."""

from ..codec import Data
from ..errors import TensorMoEError
from .spec import Spec
from .stage import Stage


def spec_from_json(text: str) -> Spec:
    """Read a specification of any type, a layer's or a block's, from JSON text.

    Raises:
        TensorMoEError: as `MuMoESpec.from_json`.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.Dense())
        >>> tm.spec_from_json(spec.to_json()) == spec
        True
    """
    return Spec.from_json(text)


def spec_data(spec: Spec | Stage) -> Data:
    """A specification as plain data for a report, or as text if it holds a function of your own."""
    try:
        return spec.to_dict()
    except TensorMoEError:
        return repr(spec)

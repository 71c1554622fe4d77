"""Which factorization suits a weight: fits of several, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..tables import table
from ..typing import Array
from .fit import Fit, FitOptions, fit


@dataclass(frozen=True)
class Comparison:
    """Fits of several specifications to one weight; prints as a table.

    Args:
        fits: one for each specification, in their order.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> specs = [tm.MuMoESpec(8, 6, 4, family) for family in (tm.CP(2), tm.TensorTrain((2, 2)))]
        >>> comparison = tm.fitting.compare(np.random.default_rng(0).normal(size=(4, 8, 6)), specs)
        >>> comparison.best is min(comparison.fits, key=lambda fitted: fitted.weight_error)
        True
    """

    fits: tuple[Fit, ...]

    @property
    def best(self) -> Fit:
        """The fit with the smallest error: of outputs where there are inputs, otherwise of the weight."""
        return min(
            self.fits,
            key=lambda each: each.weight_error if each.output_error is None else each.output_error,
        )

    def __str__(self) -> str:
        columns = ("factorization", "method", "parameters", "weight error", "output error", "iterations")
        return table(columns, [self._row(each) for each in self.fits], text_columns=2)

    def _row(self, each: Fit) -> tuple[str, ...]:
        outputs = "–" if each.output_error is None else f"{each.output_error:.4f}"
        figures = f"{each.parameters:,}", f"{each.weight_error:.4f}", outputs, f"{each.iterations:,}"
        return str(each.spec.factorization), each.method, *figures


def compare(
    target: Array, specs: Sequence[MuMoESpec], *, parameters: int | None = None, **options: Unpack[FitOptions]
) -> Comparison:
    """Fit several specifications to the same weight.

    Use it to choose a factorization for what is trained, at equal parameters.

    Args:
        target: as for `fit`.
        specs: the specifications.
        parameters: a budget that the ranks of each are matched to first, gate and bias included; see
            `MuMoESpec.matched`. None keeps them.
        options: those of `fit`.

    Returns:
        The fits, which print as a table.

    Raises:
        TensorMoEError: no specification, or as `fit` and `matched`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> weight = np.random.default_rng(0).normal(size=(4, 8, 6))
        >>> specs = [tm.MuMoESpec(8, 6, 4, family) for family in (tm.CP(1), tm.TensorRing((2, 2, 1)))]
        >>> comparison = tm.fitting.compare(weight, specs, parameters=150, iterations=50)
        >>> [fitted.parameters for fitted in comparison.fits]
        [114, 106]
    """
    listed = isinstance(specs, list | tuple) and all(isinstance(spec, MuMoESpec) for spec in specs)
    if not listed or not specs:
        raise TensorMoEError("specs", specs, "pass a list of MuMoESpec, at least one")
    if parameters is not None:
        specs = [spec.matched(parameters) for spec in specs]
    return Comparison(tuple(fit(target, spec, **options) for spec in specs))

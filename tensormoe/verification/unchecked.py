"""What a verification does not check, as sentences for its report."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..arrays.backend import Backend
from ..layers.spec import Spec
from .arithmetic.rounding import UNITS
from .capacity import are_symmetric
from .exact import is_whole
from .modules import has_modules
from .reference.gate import have_bounds, have_references
from .report import METHODS
from .whole import is_small


def find_unchecked(spec: Spec, objects: Mapping[str, Backend], methods: Sequence[str]) -> Iterator[str]:
    """What the chosen methods leave open for this specification and these backends."""
    left = [method for method in METHODS if method not in methods]
    if left:
        yield f"what the other methods show: {', '.join(left)}"
    layers = spec.layers.values()
    if "exact" in methods and not all(is_whole(layer) for layer in layers):
        shown = " and ".join(f"{prod(layer.network.weight_shape):,}" for layer in layers)
        yield f"exact: most of the weight tensor's {shown} entries; a random part was compared"
    if "float" in methods:
        if spec.gates and not have_bounds(spec.gates):
            yield "float: the errors of this gate's coefficients, which have no bound here"
        if callable(spec.between):
            yield "float: the errors of the block's nonlinearity, a function that has no bound here"
        for dtype in UNITS:
            yield from _on(
                f"float: {dtype}", [n for n, ops in objects.items() if dtype not in ops.float_types]
            )
    if "capacity" in methods and spec.experts and not are_symmetric(spec.gates):
        what = "this gate" if spec.gates else "coefficients that come with a call"
        yield f"capacity: experts, since {what} may tell equal ones apart; bonds alone were looked at"
    if "frameworks" in methods:
        yield from _find_in_frameworks(spec, objects)


def _find_in_frameworks(spec: Spec, objects: Mapping[str, Backend]) -> Iterator[str]:
    defined = have_references(spec.gates)
    if not defined:
        yield "frameworks: which coefficients this gate should give: only what any gate must do was tried"
        if len(objects) == 1:
            yield "frameworks: whether this gate is the same elsewhere: pass two backends"
    if not is_small(spec):
        yield "frameworks: the weight tensor, which is too large to be multiplied out"
    yield from _on("frameworks: modules", [n for n, ops in objects.items() if not has_modules(n, ops)])
    if not defined:
        yield from _on(
            "frameworks: modules in training", [n for n, ops in objects.items() if has_modules(n, ops)]
        )
    alike = [name for name, ops in objects.items() if type(ops).gradients is Backend.gradients]
    yield from _on("frameworks: gradients and training", alike)
    silent = [name for name, ops in objects.items() if type(ops).random_source is Backend.random_source]
    if spec.adds_noise:
        yield from _on("frameworks: the distribution of the noise", silent)


def _on(what: str, backends: Sequence[str]) -> Iterator[str]:
    if backends:
        yield f"{what}, on {', '.join(backends)}"

"""Cores for a weight that exists, such as those of a trained layer or of a stack of experts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from ..arrays.registry import get_backend
from ..errors import TensorMoEError, non_negative_integer, one_of, true_or_false
from ..layers.checks import find_stage
from ..layers.initialization import DTYPES, draw_gate, initialize_constants
from ..layers.layer_spec import MuMoESpec
from ..layers.parameters import join_name
from ..layers.stage import Stage
from ..networks.notation import INPUT
from ..tables import fold
from ..typing import Array, NumPyArray
from .descent import Descent, Report
from .metric import Metrics, read_metrics, relative_error
from .one_expert import fit_matrix, has_one_core_each
from .starts import Cores, starts
from .target import read_target

ITERATIONS = 1000
# A fit with this error needs no further start.
_GOOD = 1e-10


class FitOptions(TypedDict, total=False):
    """The options of `fit`, which `compare` hands on."""

    bias: Array | None
    inputs: Array | None
    outputs: Array | None
    seed: int
    iterations: int
    progress: bool


@dataclass(frozen=True)
class Fit:
    """Cores fitted to a weight, and how well they fit; prints as two lines.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: by name, float64, for `tm.materialize` and `tm.contract`.
        weight_error: the norm of W − Ŵ over that of W.
        output_error: the same of the outputs on `inputs`, over all experts; None without inputs.
        iterations: steps of L-BFGS.
        method: what found the cores: "closed form", or where descent began.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=6))
        >>> fitted = tm.fit(np.random.default_rng(0).normal(size=(8, 6)), spec)
        >>> fitted.method, fitted.weight_error < 1e-12
        ('closed form', True)
    """

    spec: MuMoESpec | Stage
    cores: Cores
    weight_error: float
    output_error: float | None
    iterations: int
    method: str

    def initialize(self, dtype: str = "float32") -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
        """The layer's parameters and state, as `tm.initialize` returns them, with these cores.

        The gate's weights are as `tm.initialize` has them. A layer takes both:
        `layer.load_arrays(parameters | state)`.

        Args:
            dtype: "float32" or "float64".

        Raises:
            TensorMoEError: an unknown dtype, or a fit of one of a block's layers, which has no gate.
        """
        one_of("dtype", dtype, DTYPES)
        if not isinstance(self.spec, MuMoESpec):
            raise TensorMoEError("spec", self.spec, "it has no gate: fit the layers of a block by tm.upcycle")
        constants, state = initialize_constants(self.spec, dtype, fixed=False)
        cores = {join_name("cores", name): core.astype(dtype) for name, core in self.cores.items()}
        fixed = {name: cores.pop(name) for name in self.spec.fixed_shapes}
        return cores | constants | draw_gate(self.spec, dtype=dtype), fixed | state

    def __str__(self) -> str:
        sizes = f"{self.spec.in_features} → {self.spec.out_features}, experts={self.spec.experts}"
        outputs = "" if self.output_error is None else f", of outputs {self.output_error:.3g}"
        return fold(
            f"{self.spec.factorization}, {sizes}: {self.parameters:,} parameters in cores",
            f"relative error of the weight {self.weight_error:.3g}{outputs} "
            f"({self.method}, {self.iterations} iterations)",
        )

    @property
    def parameters(self) -> int:
        """The number of elements in all cores that are trained."""
        fixed = dict(find_stage(self.spec).network.fixed)
        return sum(core.size for name, core in self.cores.items() if name not in fixed)


def fit(
    target: Array,
    spec: MuMoESpec | Stage,
    *,
    bias: Array | None = None,
    inputs: Array | None = None,
    outputs: Array | None = None,
    seed: int = 0,
    iterations: int = ITERATIONS,
    progress: bool = False,
) -> Fit:
    """Find cores whose weight tensor is close to one that exists.

    Use it to compress a stack of trained experts, or to see which factorization suits them (`compare`). If
    the target is one matrix, all experts are equal to it; to train from there, use `upcycle`, whose experts
    differ.

    One matrix has a closed form, the singular value decomposition. A stack is fitted from TensorLy's
    decomposition where it has one (CP, Tucker, tensor train, ring), otherwise from three random starts, by
    L-BFGS on all cores at once; fixed ones stay. It holds the whole weight tensor in float64.

    Args:
        target: W (I, O), the same for all experts; or (N, I, O) or (N1, …, NE, I, O). Transpose what
            nn.Linear keeps. The biases may be the last of I+1 rows, as in `tm.materialize`.
        spec: the layer, or one of a block's `layers`; any network.
        bias: (O,), (N, O) or (N1, …, NE, O); zeros if the layer has a bias and none is given.
        inputs: samples of the layer's inputs (…, I). The mean squared error of outputs on them is made small,
            in place of that of the weight.
        outputs: samples (…, O) of what says which outputs count, such as the gradients of a loss with respect
            to them: errors are weighted by the root of their second moment.
        seed: of what is random.
        iterations: the largest number of steps of each descent; 0 for none.
        progress: whether to show a progress bar.

    Returns:
        The cores, and their relative errors.

    Raises:
        TensorMoEError: a block, a shape that does not fit, numbers that are not finite, or a target that
            needs more memory than there is.

    Source: Kossaifi et al., "TensorLy: Tensor Learning in Python", 2019, for the starts. Wang et al.,
    "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression", 2024, for
    `inputs`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> experts = np.random.default_rng(0).normal(size=(4, 8, 6))
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.TensorTrain(ranks=(4, 6)), bias=False)
        >>> fitted = tm.fit(experts, spec)
        >>> np.allclose(tm.materialize(spec, fitted.cores), experts)
        True
    """
    stage = find_stage(spec)
    non_negative_integer("seed", seed)
    steps = non_negative_integer("iterations", iterations)
    shown = true_or_false("progress", progress)
    weight = read_target("target", target, bias, stage)
    metrics = read_metrics(inputs, outputs, stage)
    with _bar(shown, steps) as report:
        one = (1,) * stage.levels
        if weight.shape[:-2] == one and not (stage.experts == one and stage.network.shared):
            cores, count, method = fit_shared(weight, stage, metrics, seed, steps, report)
        else:
            cores, count, method = _fit_stack(Descent(stage, weight, metrics), seed, steps, report)
    cores = {
        name: np.array(np.broadcast_to(cores[name], shape), order="C")
        for name, shape in stage.network.shapes.items()
    }
    errors = measure(weight, stage, cores, metrics)
    return Fit(spec, cores, *errors, iterations=count, method=method)


def fit_shared(
    weight: NumPyArray, stage: Stage, metrics: Metrics, seed: int, iterations: int, report: Report
) -> tuple[Cores, int, str]:
    """Cores with expert axes of size 1 for a weight (1, …, 1, I[+1], O), the steps taken, and the method.

    Where modes are split, no closed form is known, and descent takes its place.

    The best cores for equal experts have equal experts: each fits as well as the best of them.
    """
    if stage.network.fixed:
        names = ", ".join(dict(stage.network.fixed))
        remedy = f"one matrix is fitted core by core, and {names} is fixed: fit one for each expert"
        raise TensorMoEError("factorization", stage.factorization, remedy)
    if stage.network.shared:
        names = ", ".join(stage.network.shared)
        remedy = (
            f"one matrix is fitted core by core, and {names} is used more than once: fit one for each expert"
        )
        raise TensorMoEError("factorization", stage.factorization, remedy)
    stage.network.require_whole_experts("one matrix is fitted by one expert, which has no parts: fit a stack")
    one = shrink(stage)
    if stage.network.splits:
        return _fit_stack(Descent(one, weight, metrics), seed, iterations, report)
    rows, columns = weight.shape[-2:]
    generator = np.random.default_rng(seed)
    cores = fit_matrix(one.network, weight.reshape(rows, columns), metrics, generator)
    if has_one_core_each(one.network) or iterations == 0:
        return cores, 0, "closed form"
    # Several cores with the same mode can reach more than the closed form, which sets all but one of them.
    descent = Descent(one, weight, metrics)
    best, _, steps = descent.minimize(descent.absorb(cores), iterations, report)
    return descent.restore(best), steps, "closed form" if steps == 0 else "L-BFGS from the closed form"


def shrink(stage: Stage) -> Stage:
    """The same stage with one expert on every level."""
    return replace(stage, experts=(1,) * stage.levels, optimize="auto", memory_limit=None)


def _fit_stack(descent: Descent, seed: int, iterations: int, report: Report) -> tuple[Cores, int, str]:
    """The best of what descents from all starts give."""
    best: Cores = {}
    least, total, method = np.inf, 0, ""
    for name, cores in starts(descent.stage, descent.target, seed):
        improved, error, steps = descent.minimize(cores, iterations, report)
        total += steps
        if error < least:
            best, least = improved, error
            method = f"L-BFGS from a {name} start" if steps else f"a {name} start"
        if least <= _GOOD:
            break
    return descent.restore(best), total, method


def measure(weight: NumPyArray, stage: Stage, cores: Cores, metrics: Metrics) -> tuple[float, float | None]:
    """The relative errors of the weight and, where there are inputs, of outputs."""
    if weight.shape[:-2] == (1,) * stage.levels:
        # All experts are the same, in the cores too.
        stage = shrink(stage)
        shapes = stage.network.shapes
        cores = {name: core[tuple(map(slice, shapes[name]))] for name, core in cores.items()}
    ops = get_backend("numpy")
    ordered = [np.ascontiguousarray(cores[name]) for name in stage.network.shapes]
    fitted = ops.compute(stage.materialization_plan.program, (), ordered)
    metric = metrics.get(INPUT)
    outputs = None if metric is None else relative_error(weight, fitted, metric)
    return relative_error(weight, fitted), outputs


@contextmanager
def _bar(shown: bool, iterations: int) -> Iterator[Report]:
    """A function that reports steps, to a progress bar if one is shown."""
    if not shown:
        yield lambda step, error: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("fitting", total=iterations)
        advance: Callable[..., None] = bar.update
        yield lambda step, error: advance(task, completed=step, description=f"relative error {error:.2e}")

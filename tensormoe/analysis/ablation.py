"""Counterfactual ablation: what a layer would say without one of its experts, for every expert."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import TensorMoEError
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray
from .ablation_run import compute_outputs, run
from .ablation_subject import Experts, read_ablations, read_subject
from .reading import read_classes


def ablate(
    layer: Any,
    x: Array,
    *,
    experts: Experts | None = None,
    level: int | Sequence[int] | None = None,
    layers: str | Sequence[str] | None = None,
    mode: str = "zero",
    router_input: Array | None = None,
    coefficients: Sequence[Array] | Array | None = None,
    previous: Sequence[Array] | None = None,
) -> NumPyArray:
    """The outputs of a layer or a block without an expert, for each of several experts.

    Use it to see what an expert does: no other changes, and the rest of the layer is as it was. The outputs
    are those of the materialized tensor with W[n] = 0, from the cores: a layer's by y − a_n (W_n z) for all
    experts at once; inputs whose coefficient is 0 keep their output and cost nothing.

    Args:
        layer: a module of any framework, or a `tm.SavedLayer`. It runs as in evaluation, without gradients,
            and stays as it is.
        x: its inputs, (…, I), of its framework; or of NumPy, which are converted to its element type.
        experts: one number, or several, each an ablation of its own; of several levels also a tuple of
            numbers for each. None for all experts of the levels. Those in a set, as in [{0, 3}, {1, 2, 5}],
            are removed together, which takes an evaluation for each set; of several levels, one more for
            each group of experts that have other partners.
        level: the level whose experts are ablated, from 0 on, with all combinations that they are part of; or
            several levels, whose combinations are, the last counting fastest. None for all levels.
        layers: of a block, the name of the layer that loses the expert, or several; None for all.
        mode: "zero" removes the expert's contribution; "renormalize" also rescales the other coefficients of
            these levels to the sum that they had with it. Where all others are 0, they stay 0.
        router_input, coefficients: what the layer is called with beside x, as for `tm.apply`; of its
            framework, or of NumPy. A layer without a gate needs coefficients.
        previous: the coefficients of the layer before, as for `tm.apply`.

    Returns:
        (A, …, O) in NumPy, of the layer's element type, in the order of `experts`.

    Raises:
        TensorMoEError: a model that is not a layer; an expert, level or layer that there is not; inputs or
            parameters that do not fit or are not finite; or more outputs than the host has memory for.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, counterfactual expert intervention ("zero").

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 3, experts=4, factorization=tm.CP(5)), "numpy", seed=0)
        >>> x = np.ones((6, 8), "float32")
        >>> y, coefficients = layer(x, return_coefficients=True)
        >>> weight = layer.materialize()
        >>> weight[2] = 0
        >>> without = np.einsum("tn,nio,ti->to", coefficients[0], weight, np.ones((6, 9)))
        >>> np.allclose(tm.analysis.ablate(layer, x)[2], without, atol=1e-6)
        True
    """
    subject = read_subject(layer, x, router_input=router_input, coefficients=coefficients, previous=previous)
    ablations = read_ablations(subject.spec, experts, level, layers, mode)
    _check(subject.y.itemsize * subject.y.size * len(ablations), len(ablations))
    return compute_outputs(subject, ablations)


def accuracy_by_ablation(
    layer: Any,
    x: Array,
    labels: Array | Sequence[int],
    *,
    experts: Experts | None = None,
    level: int | Sequence[int] | None = None,
    layers: str | Sequence[str] | None = None,
    mode: str = "zero",
    router_input: Array | None = None,
    coefficients: Sequence[Array] | Array | None = None,
    previous: Sequence[Array] | None = None,
) -> NumPyArray:
    """How much each class's accuracy changes without an expert, for each of several experts.

    Use it to see which classes an expert serves; `polysemanticity` sums it up. The layer's outputs are the
    logits; of equal ones the first is the prediction. Outputs are not kept, whatever their number.

    Args:
        layer, x, experts, level, layers, mode, router_input, coefficients, previous: as for `ablate`.
        labels: the class of each input, integers from 0 to O − 1, of any framework.

    Returns:
        (A, O) in NumPy's float64, from −1 to 1: the accuracy without the expert less that with it. 0 for a
        class without an input.

    Raises:
        TensorMoEError: as `ablate`; labels of another length, or of a class that the layer has no output for.

    Source: as `ablate`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> cores = {"expert1": np.eye(2), "input": np.eye(2), "output": np.eye(2)}  # W[n, n, n] = 1
        >>> spec = tm.MuMoESpec(2, 2, 2, tm.CP(2), tm.Gate("softmax", norm=None), bias=False)
        >>> arrays = {f"cores.{name}": core for name, core in cores.items()} | {"gate_weights.0": np.eye(2)}
        >>> layer = tm.SavedLayer(spec, arrays, {})
        >>> tm.analysis.accuracy_by_ablation(layer, np.array([[1.0, 0.5], [0.5, 1.0]]), [0, 1])
        array([[-1.,  0.],
               [ 0., -1.]])
    """
    subject = read_subject(layer, x, router_input=router_input, coefficients=coefficients, previous=previous)
    ablations = read_ablations(subject.spec, experts, level, layers, mode)
    classes = subject.y.shape[-1]
    truth = read_classes("labels", labels, subject.leading)
    if truth.max() >= classes:
        raise TensorMoEError("labels", int(truth.max()), f"the layer has {classes} outputs, from 0 on")
    _check((truth.size + 16 * classes) * len(ablations), len(ablations))
    before = subject.y.argmax(axis=1) == truth
    right = np.empty((len(truth), len(ablations)), bool)
    for part in run(subject, ablations):
        expected = truth[part.tokens]
        right[part.tokens, part.which] = (expected == part.y.argmax(axis=-1).T).T
    members = truth == np.arange(classes)[:, None]
    # In whole numbers: where nothing changes, the change is 0 and no rounding.
    changes = np.stack([right[each].sum(axis=0) - before[each].sum() for each in members], axis=1)
    shares: NumPyArray = changes / np.maximum(members.sum(axis=1), 1)
    return shares


def _check(needed: int, ablations: int) -> None:
    check_memory("experts", ablations, "the results of so many ablations", needed, host_memory())

"""One command for all levels of verification."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import get_backend
from ..errors import TensorMoEError, non_negative_integer, one_of, positive_integer
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..programs.contraction import Contraction, layer_contraction, weight_contraction
from ..programs.plan import Plan
from . import exact
from .arithmetic.residues import PRIME
from .floating import float_checks
from .frameworks import framework_checks
from .gates import gate_checks
from .inputs import real_inputs, sampled
from .proof.prove import ProofError, prove_program
from .reference.gate import bounded
from .report import LEVELS, Check, VerificationReport

_EXACT_TOKENS = 2
# Elements of the weight tensor that are multiplied out in float64.
_FLOAT_SAMPLE = 2**20


def verify(
    spec: Spec,
    backends: Sequence[Any] = ("numpy", "torch", "jax"),
    seed: int = 0,
    tokens: int = 5,
    level: str = "all",
) -> VerificationReport:
    """Verify that a spec's implicit computation is the soft MoE that it stands for, on four levels.

    - "proof": the program of each layer, and its materialization, are proved for all values and sizes (see
      `tensormoe.prove`).
    - "exact": the same programs compute with random integers modulo 2^61 − 1; output, gradients and weight
      tensor equal the materialized definition's.
    - "float": every backend, element type and device computes output and gradients within an error bound that
      follows from the program before any value is known, coefficients being given; so do gates.
    - "frameworks": layers and blocks with their gates are the same on all backends: output, coefficients,
      running statistics, gradients, and the parameters after ten training steps.

    Of a large weight tensor, a random part of the experts, inputs and outputs is materialized. A gate's noise
    is left out.

    Args:
        spec: a layer or a block.
        backends: names, each of which must be installed, or backend objects.
        seed: of the random values.
        tokens: the number of input vectors.
        level: one of the above, or "all".

    Returns:
        A report, with `.passed`, a table as its text, and `.to_json()`.

    Raises:
        TensorMoEError: an unknown or missing backend or level, or cores too large for exact arithmetic.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> tm.verify(spec, backends=("numpy",)).passed
        True
    """
    if isinstance(backends, str) or not backends:
        raise TensorMoEError("backends", backends, 'pass names, such as ("numpy", "torch")')
    tokens, seed = positive_integer("tokens", tokens), non_negative_integer("seed", seed)
    one_of("level", level, (*LEVELS, "all"))
    chosen = LEVELS if level == "all" else (level,)
    # A proof needs no framework, and some take seconds to import.
    computing = {"float", "frameworks"} & {*chosen}
    objects = dict(named_backend(backend) for backend in backends) if computing else {}
    layers = {"" if key == "cores" else f"{key} layer, ": layer for key, layer in spec.layers.items()}
    if "exact" in chosen:
        for layer in layers.values():
            exact.check_size(layer)
    checks: list[Check] = []
    remarks = [f"gate: {spec.gate.steps}"]
    generators = dict(zip(LEVELS, np.random.default_rng(seed).spawn(len(LEVELS)), strict=True))
    if "proof" in chosen:
        for label, layer in layers.items():
            checks += _proof_checks(layer, label, remarks)
    if "exact" in chosen:
        for label, layer in layers.items():
            checks += exact.exact_checks(layer, generators["exact"], label, _EXACT_TOKENS)
        remarks.append(_chance(layers.values()))
    if "float" in chosen:
        checks += _float_checks(spec, layers, objects, generators["float"], tokens)
        if not bounded(spec.gate):
            remarks.append("float: this gate has no error bound here; its logits and weights are not bounded")
    if "frameworks" in chosen:
        checks += framework_checks(spec, objects, generators["frameworks"], seed, tokens)
    return VerificationReport(spec, tuple(checks), tuple(remarks), seed)


def named_backend(backend: Any) -> tuple[str, Any]:
    """The name and the object of a backend given by either."""
    if isinstance(backend, Backend):
        return backend.tensormoe_name, backend
    return backend, get_backend(backend)


def _proof_checks(layer: Stage, label: str, remarks: list[str]) -> Iterator[Check]:
    # Not the plans' own contractions: a plan may be another layer's.
    network = layer.network
    for least, plan in layer.plans:
        where = f" from batch size {least}" if len(layer.plans) > 1 else ""
        quantity = f"{label}output and gradients{where}"
        yield _proved(layer_contraction(network, layer.bias), plan, quantity, remarks)
    yield _proved(weight_contraction(network), layer.materialization_plan, f"{label}weight", remarks)


def _proved(contraction: Contraction, plan: Plan, quantity: str, remarks: list[str]) -> Check:
    try:
        steps = len(prove_program(contraction, plan.program).steps)
    except ProofError as error:
        remarks.append(f"proof: refused: {error}")
        return Check("proof", "indices", quantity, 1.0, 0.0)
    return Check("proof", "indices", f"{quantity}, {steps} steps", 0.0, 0.0)


def _chance(layers: Iterable[Stage]) -> str:
    """What the exact level may overlook."""
    layers = list(layers)
    degree = max(exact.degree(layer) for layer in layers)
    chance = f"{degree / PRIME:.1e}, d = {degree}"
    whole = all(exact.is_whole(layer) for layer in layers)
    where = "" if whole else "; of the weight tensor, a part was drawn: what is outside it was not seen"
    return f"exact: a wrong program would pass with probability at most d/p = {chance}{where}"


def _float_checks(
    spec: Spec,
    layers: dict[str, Stage],
    objects: dict[str, Any],
    generator: np.random.Generator,
    tokens: int,
) -> Iterator[Check]:
    for label, layer in layers.items():
        sample = sampled(layer, generator, _FLOAT_SAMPLE)
        inputs = real_inputs(layer, generator, tokens).restricted(sample)
        yield from float_checks(layer, objects, inputs, sample, label)
    if bounded(spec.gate):
        yield from gate_checks(spec, objects, generator, tokens)

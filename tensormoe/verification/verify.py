"""One function for all methods of verification."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import nan
from typing import TypeAlias

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import check_name, get_backend, installed_backends
from ..errors import TensorMoEError, as_tuple, is_listed, non_negative_integer, one_of, positive_integer
from ..layers.spec import Spec, check_spec
from ..layers.stage import Stage
from ..programs.block_plan import chain_plans
from ..programs.contraction import Contraction, activate, layer_contraction, weight_contraction
from ..programs.program import Program
from . import exact, exact_block
from .arithmetic.residues import PRIME
from .attempt import StepError, guard, step
from .blocks import block_checks
from .capacity import capacity_checks
from .certificates import certify_layers, coq_checks
from .floating import float_checks
from .frameworks import framework_checks
from .gates import gate_checks
from .inputs import draw_sample, real_inputs, thin
from .needs import check_size
from .proof.chain import ChainProof, prove_chain
from .proof.prove import Proof, prove_program
from .reference.gate import have_bounds
from .report import METHODS, OPTIONAL_METHODS, Check, VerificationReport
from .unchecked import find_unchecked

# Names or objects, or a single one; None for all that are installed.
Backends: TypeAlias = Sequence[str | Backend] | str | Backend | None
_EXACT_BATCH = 2
# Elements of the weight tensor that are multiplied out in float64.
_FLOAT_SAMPLE = 2**18


def verify(
    spec: Spec,
    backends: Backends = None,
    seed: int = 0,
    *,
    methods: Sequence[str] | str = METHODS,
    batch_size: int = 5,
) -> VerificationReport:
    """Verify that a layer computes the soft MoE that it stands for, by up to six methods.

    - "proof": the programs of each layer, and its materialization, are proved for all values and sizes (see
      `tensormoe.prove`).
    - "exact": the same programs compute with random integers modulo 2^61 − 1; output, gradients and weight
      tensor equal those of the materialized definition.
    - "float": every backend, element type and device computes output and gradients within an error bound that
      follows from the program before any value is known, with the coefficients given. Gates have bounds as
      well.
    - "frameworks": layers and blocks with their gates, as functions and as modules, equal their definition,
      and are the same on all backends: output, coefficients, running statistics, gradients and, in backends
      that train, the parameters after ten training steps. A gate of your own, which has no definition here,
      is checked for what any gate must do.
    - "capacity": no experts, and no values of a bond, start such that gradient descent can never tell them
      apart. Those that do are named.
    - "coq", only if you name it: Coq checks a certificate of each layer's programs (see `Proof.to_coq`). It
      must be installed, and takes seconds for each.

    A large weight tensor is sampled: a random part of its experts, inputs and outputs is materialized.

    Args:
        spec: a layer or a block.
        backends: names or backend objects, or a single one. By default every installed one; any that you
            name must be installed.
        seed: the seed of the random values.
        methods: some of the six, or the name of one; by default the first five.
        batch_size: the number of input vectors.

    Returns:
        A report, with `.passed`, a table as its text, `.unchecked`, which says what was not checked, and
        `.to_json()`. What a backend, a gate or a program raises is a failed check, which names the step.

    Raises:
        TensorMoEError: an unknown or missing backend, an unknown method, cores too large for exact
            arithmetic, more memory than the machine has, Coq that is not installed, or a layer that
            certificates cannot speak about.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> tm.verify(spec, backends=("numpy",)).passed
        True
    """
    check_spec(spec)
    batch_size, seed = positive_integer("batch_size", batch_size), non_negative_integer("seed", seed)
    chosen = check_methods(methods)
    # A proof needs no framework, and frameworks may take seconds to import.
    computing = {"float", "frameworks"} & {*chosen}
    given = check_backends(backends)
    if computing:
        check_size(spec, batch_size)
    certificates = certify_layers(spec) if "coq" in chosen else {}
    objects = resolve_backends(given) if computing else {}
    layers = {"" if key == "cores" else f"{key} layer, ": layer for key, layer in spec.layers.items()}
    if "exact" in chosen:
        for layer in layers.values():
            exact.check_size(layer)
    ungated = "none, coefficients come with each call" if spec.experts else "none, nor experts"
    steps = dict.fromkeys(gate.steps for gate in spec.gates) or [ungated]
    remarks = [f"gate: {each}" for each in steps]
    generators = dict(zip(METHODS, np.random.default_rng(seed).spawn(len(METHODS)), strict=True))
    run: dict[str, Callable[[], Iterator[Check]]] = {
        "proof": lambda: _proof_checks(spec, layers),
        "exact": lambda: _exact_checks(spec, layers, generators["exact"], remarks),
        "float": lambda: _float_checks(spec, layers, objects, generators["float"], batch_size),
        "frameworks": lambda: framework_checks(spec, objects, generators["frameworks"], seed, batch_size),
        "capacity": lambda: capacity_checks(spec, seed, remarks),
        "coq": lambda: coq_checks(certificates),
    }
    checks: list[Check] = []
    for method in chosen:
        made = [*guard(method, run[method]())]
        checks += made or [Check(method, "verification", "all", nan, 0.0, reason="nothing was compared")]
    missing = tuple(find_unchecked(spec, objects, chosen))
    return VerificationReport(spec, tuple(checks), tuple(remarks), seed, missing)


def check_methods(methods: Sequence[str] | str) -> tuple[str, ...]:
    """Check the names of methods; return them in the order in which they run."""
    given, known = as_tuple(methods), (*METHODS, *OPTIONAL_METHODS)
    for method in given:
        one_of("methods", method, known)
    if not given:
        raise TensorMoEError("methods", methods, f"name at least one of {', '.join(METHODS)}")
    return tuple(method for method in known if method in given)


def check_backends(backends: Backends) -> tuple[str | Backend, ...] | None:
    """Check the names of backends without importing them; None for all installed ones."""
    if backends is None:
        return None
    given = (backends,) if isinstance(backends, str | Backend) else backends
    if not (is_listed(given) and len(given)):
        raise TensorMoEError("backends", backends, 'pass names, such as ("numpy", "torch")')
    return tuple(each if isinstance(each, Backend) else check_name(each) for each in given)


def resolve_backends(backends: Backends) -> dict[str, Backend]:
    """Backend objects by name; all installed ones for None."""
    given = check_backends(backends) or installed_backends()
    objects = [each if isinstance(each, Backend) else get_backend(each) for each in given]
    return {each.tensormoe_name: each for each in objects}


def _exact_checks(
    spec: Spec, layers: Mapping[str, Stage], generator: np.random.Generator, remarks: list[str]
) -> Iterator[Check]:
    for label, layer in layers.items():
        active = spec.active if layer.levels else None
        checks = exact.exact_checks(layer, generator, label, _EXACT_BATCH, active)
        yield from guard("exact", checks, label or "layer")
    if any(layer.joint for layer in layers.values()):
        yield from guard("exact", exact_block.block_checks(spec, generator, _EXACT_BATCH), "block")
    remarks.append(_chance(layers.values()))


def _proof_checks(spec: Spec, layers: Mapping[str, Stage]) -> Iterator[Check]:
    # Not the plans' own contractions: a plan may be another layer's.
    contractions = [layer_contraction(layer.network) for layer in layers.values()]
    for (label, layer), contraction in zip(layers.items(), contractions, strict=True):
        quantity = f"{label}output and gradients"
        yield from _prove_programs(layer.programs, quantity, partial(prove_program, contraction))
        weight, materialization = weight_contraction(layer.network), layer.materialization_plan.program
        yield from _prove_programs(((0, materialization),), f"{label}weight", partial(prove_program, weight))
    if spec.between is not None:
        prove = partial(prove_chain, contractions, spec.between)
        yield from _prove_programs(spec.programs, "block, output and gradients", prove)
    if spec.active is not None:
        yield from _prove_gathered(spec, layers, [activate(each, spec.active) for each in contractions])


def _prove_gathered(
    spec: Spec, layers: Mapping[str, Stage], contractions: Sequence[Contraction]
) -> Iterator[Check]:
    """Prove the programs that read only the slices of active experts."""
    active = spec.active or ()
    plans = [layer.plan(1, active[: layer.levels]) for layer in layers.values()]
    for label, plan, contraction in zip(layers, plans, contractions, strict=True):
        quantity = f"{label}gathered, output and gradients"
        yield from _prove_programs(((0, plan.program),), quantity, partial(prove_program, contraction))
    if spec.between is not None:
        whole = chain_plans(plans, spec.between)
        prove = partial(prove_chain, contractions, spec.between)
        yield from _prove_programs(((0, whole),), "block, gathered, output and gradients", prove)


def _prove_programs(
    programs: Sequence[tuple[int, Program]],
    quantity: str,
    prove: Callable[[Program], Proof | ChainProof],
) -> Iterator[Check]:
    """Prove each program, given with the smallest batch size that it is chosen for."""
    for least, program in programs:
        where = f" from batch size {least}" if len(programs) > 1 else ""
        try:
            with step("proof", "indices", quantity + where):
                steps = len(prove(program).steps)
        except StepError as error:
            yield error.check
        else:
            yield Check("proof", "indices", f"{quantity}{where}, {steps} steps", 0.0, 0.0)


def _chance(layers: Iterable[Stage]) -> str:
    """A remark on what exact arithmetic may overlook."""
    layers = list(layers)
    degree = max(exact.degree(layer) for layer in layers)
    if any(layer.joint for layer in layers):
        # The block's own program: the last layer of a product of two squares and a factor.
        degree *= 4
    chance = f"{degree / PRIME:.1e}, d = {degree}"
    whole = all(exact.is_whole(layer) for layer in layers)
    where = "" if whole else "; the weight tensor was compared on a random part of its entries"
    return (
        f"exact: a wrong program would pass with probability at most d/p = {chance}{where} "
        "(d: degree of the polynomials compared, p = 2^61 − 1)"
    )


def _float_checks(
    spec: Spec,
    layers: dict[str, Stage],
    objects: dict[str, Backend],
    generator: np.random.Generator,
    batch_size: int,
) -> Iterator[Check]:
    for label, layer in layers.items():
        sample = draw_sample(layer, generator, _FLOAT_SAMPLE)
        inputs = real_inputs(layer, generator, batch_size).restrict(sample)
        yield from float_checks(layer, objects, inputs, sample, label)
        if spec.active is not None and layer.levels:
            able = {name: ops for name, ops in objects.items() if ops.can_gather([ops.from_numpy(inputs.x)])}
            few = thin(inputs, spec.active, generator)
            yield from float_checks(layer, able, few, sample, label, active=spec.active)
    if isinstance(spec.between, str):
        yield from block_checks(spec, objects, generator, batch_size)
    if spec.gates and have_bounds(spec.gates):
        yield from gate_checks(spec, objects, generator, batch_size)

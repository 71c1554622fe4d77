"""The certificate of an edit: a theorem on the edited layer, with what was proved and compared for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from ..checkpoints.copying import check_layer
from ..checkpoints.saved import Layer
from ..errors import TensorMoEError, as_tuple, one_of
from ..fitting.target import read_values
from ..gates.gate import Gate
from ..gates.steering import Sharing, Step
from ..layers.parameters import cores_of, join_name
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..terminal import substitute
from ..typing import NumPyArray, Shape
from ..verification.coq.edit import export_edit
from ..verification.prove import prove
from .draft import Draft
from .exact import BITS, changed_experts, changed_inputs, changed_outputs
from .reading import Expert, Place, locate, read_expert
from .steer import mark_steered
from .theorem import Extent, Statement, state

# What may differ: how a weight is factorized, and what follows from that.
_FREE = ("factorization", "optimize", "memory_limit", "initialization", "bias")


@dataclass(frozen=True)
class Certificate:
    """What an edit changed, proved. Print it for the theorem and its proof.

    Args:
        experts: for each layer, the experts that may have changed, by their numbers on each level.
        unchanged: for each layer with experts, the number of other experts, whose weights are equal.
        unchanged_outputs: for each layer, the number of outputs that are unchanged for every input.
        theorem: the text.
        stages: for each layer with experts, what it was and what it is; none if coefficients were changed.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> certificate = tm.editing.edit(layer, tm.editing.Ablate(2)).certificate()
        >>> print(str(certificate).splitlines()[0])
        Theorem. For every input x, with the coefficients a[n] and z = (x, 1), the edit changes the
    """

    experts: Mapping[str, tuple[Place, ...]]
    unchanged: Mapping[str, int]
    unchanged_outputs: Mapping[str, int]
    theorem: str
    stages: Mapping[str, tuple[Stage, Stage]] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.theorem

    def to_coq(self) -> dict[str, str]:
        """The theorem on each layer with its proof, as files that Coq checks; see `Proof.to_coq`.

        A file holds the programs of the layer before and after the edit, the proofs that each computes its
        mixture, and two theorems: for any set of experts outside which all make the same of an input as
        before, the results differ by the shares of these experts alone; and where their coefficients are 0,
        not at all. That the other experts are the same is a premise there. It is about the weights' numbers,
        which `certify` has compared.

        Returns:
            The text of a file for each layer with experts, by the layer's name.

        Raises:
            TensorMoEError: the edit steers or splits experts, so that coefficients differ, too; or something
                that a certificate cannot speak about yet.

        Examples:
            >>> import tensormoe as tm
            >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
            >>> files = tm.editing.edit(layer, tm.editing.Ablate(2)).certificate().to_coq()
            >>> "Theorem edit_changes_nothing_else b o (edited : nat -> bool)" in files["cores"]
            True
        """
        if not self.stages:
            remedy = "only edits of weights are exported to Coq: this one steers or splits experts"
            raise TensorMoEError("certificate", "changed coefficients", remedy)
        sides = {
            name: [(each.contraction, each.default_plan.program) for each in pair]
            for name, pair in self.stages.items()
        }
        return {name: export_edit(before, after) for name, (before, after) in sides.items()}


def certify(
    before: Layer, after: Layer, experts: Expert | Sequence[Expert] | Mapping[str, Sequence[Expert]]
) -> Certificate:
    """Prove that two layers differ only in these experts' weights, or name what else differs.

    Their programs are proved as by `tm.prove`. Gates, norms and running statistics are compared bit by bit.
    The weights of all other experts are compared in exact arithmetic on the given numbers, from the cores:
    whatever factorizations the two have, an expert that differs in a single bit is found, except with a
    probability of 2^−63.

    Args:
        before, after: modules of any framework, or `tm.SavedLayer`.
        experts: those that may differ, each a number or a tuple with one for each level; in a block, such a
            sequence for each layer that was edited, by its name.

    Returns:
        A `Certificate`. It is about real numbers: each program rounds on its own.

    Raises:
        TensorMoEError: it names the expert that has changed besides these, or what else has; other kinds of
            objects, or an expert that is not there.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> after = tm.editing.edit(layer, tm.editing.Ablate(2)).layer
        >>> tm.editing.certify(layer, after, 2).experts
        {'cores': ((2,),)}
        >>> tm.editing.certify(layer, after, 3)
        Traceback (most recent call last):
        tensormoe.errors.TensorMoEError: expert 2: received 'another weight'; only expert 3 may change
    """
    check_layer("before", before)
    check_layer("after", after)
    steps = _list_steps(before.spec, after.spec)
    # What is steered or split besides is part of the theorem: the layer before, split alike.
    start = _follow(before.spec, after.spec, steps)
    compare_specs(start, after.spec)
    allowed = _read_allowed(experts, start)
    theirs = after.arrays()
    ours = {**before.arrays(), **_take_columns(before, theirs, steps)}
    compare_gates(start, ours, theirs)
    steered, others = mark_steered(steps, start.experts), dict(allowed)
    extents: dict[str, Extent] = {}
    for name, places in allowed.items():
        cores = _split_cores(before.spec.layers[name], start.layers[name], _read_cores(before, name), steps)
        sides = (start.layers[name], cores), (after.spec.layers[name], _read_cores(after, name))
        differ = changed_experts(*sides)
        if not sides[0][0].experts:
            _check_whole(name, differ)
            extents[name] = Extent(*(np.zeros(0, int),) * 2)
            continue
        _check_leaks(name, differ, places, len(allowed) > 1, "another weight")
        _check_leaks(name, steered, places, len(allowed) > 1, "another coefficient")
        others[name] = tuple(place for place in places if differ[place] or not steered[place])
        extents[name] = Extent(*(np.flatnonzero(each(*sides)) for each in (changed_inputs, changed_outputs)))
    for spec in (start, after.spec):
        prove(spec)
    text = state(Statement(start, after.spec, others, extents, steps, BITS))
    layers = start.layers
    unchanged = {
        name: prod(layers[name].experts) - len(places)
        for name, places in others.items()
        if layers[name].experts
    }
    outputs = {
        name: 0 if steered.any() and layers[name].experts else layers[name].out_features - len(each.outputs)
        for name, each in extents.items()
    }
    stages = {} if steps else {name: (layers[name], after.spec.layers[name]) for name in unchanged}
    return Certificate(allowed, unchanged, outputs, substitute(text), stages)


def _list_steps(before: Spec, after: Spec) -> tuple[Step, ...]:
    """What steers and splits experts besides; nothing where the gates differ in more."""
    pairs = [(was.steering, now.steering) for was, now in _pair_gates(before, after)]
    return tuple(step for was, now in pairs if now[: len(was)] == was for step in now[len(was) :])


def _follow(before: Spec, after: Spec, steps: Sequence[Step]) -> Spec:
    """The specification before, with what these steps do."""
    if not steps:
        return before
    experts = before.experts
    for step in steps:
        experts = step.follow(experts)
    gates = [replace(was, steering=now.steering) for was, now in _pair_gates(before, after)]
    return before.replace(experts=experts, gate=gates if len(gates) > 1 else gates[0])


def _pair_gates(before: Spec, after: Spec) -> list[tuple[Gate, Gate]]:
    """The gates of two specifications: one pair, or one for each level."""
    if isinstance(before.gate, Gate) and isinstance(after.gate, Gate):
        return [(before.gate, after.gate)]
    return list(zip(before.gates, after.gates, strict=False))


def _take_columns(layer: Layer, theirs: Mapping[str, object], steps: Sequence[Step]) -> dict[str, NumPyArray]:
    """The gate's weights, with the columns of the other layer by which experts are split: they may be any."""
    arrays, columns = layer.arrays(), {}
    for name in {f"gate_weights.{step.level}" for step in steps if step.added}:
        own = read_values(name, arrays[name])
        columns[name] = np.concatenate([own, read_values(name, theirs[name])[:, own.shape[1] :]], axis=1)
    return columns


def _split_cores(
    stage: Stage, after: Stage, cores: Mapping[str, NumPyArray], steps: Sequence[Step]
) -> Mapping[str, NumPyArray]:
    """A layer's cores after its experts were split."""
    draft = Draft(stage, cores)
    for step in steps:
        if isinstance(step, Sharing):
            draft.split(step)
    draft.refit(after)
    return draft.cores


def compare_gates(spec: Spec, ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    """Raise an error unless all but the cores of two layers are equal."""
    shared = spec.parameter_shapes.keys() - {*spec.core_names} | spec.state_shapes.keys()
    for name in sorted(shared):
        if not _is_equal(ours[name], theirs[name], name):
            raise TensorMoEError(name, "other values", "an edit leaves all but experts' weights as they are")


def compare_specs(before: Spec, after: Spec) -> None:
    """Raise an error unless two specifications differ only in how weights are factorized."""
    if type(before) is not type(after):
        raise TensorMoEError("after", type(after), f"pass a layer of a {type(before).__name__}, as before")
    for name, value in before.arguments.items():
        other = after.arguments[name]
        if name not in _FREE and other != value:
            remedy = f"an edit leaves it as it is: {value!r} before"
            raise TensorMoEError(f"{name} after", other, remedy)


def _read_allowed(experts: object, spec: Spec) -> dict[str, tuple[Place, ...]]:
    """For each layer, the experts that may differ."""
    names, levels = tuple(spec.layers), len(spec.experts)
    if not isinstance(experts, Mapping):
        if len(names) > 1:
            raise TensorMoEError("experts", type(experts), "pass a mapping from layers: {'first': [3]}")
        alone = isinstance(experts, tuple) and levels > 1 and all(isinstance(each, int) for each in experts)
        experts = {names[0]: (experts,) if alone else as_tuple(experts)}
    for name in experts:
        one_of("layer in experts", name, names)
    return {
        name: _locate(as_tuple(experts.get(name, ())), stage.experts) for name, stage in spec.layers.items()
    }


def _locate(experts: Sequence[object], counts: Shape) -> tuple[Place, ...]:
    places = {locate("experts", read_expert("experts", each), counts) for each in experts}
    return tuple(sorted(places))


def _read_cores(it: Layer, layer: str) -> dict[str, NumPyArray]:
    cores = cores_of(it.spec, it.arrays(), layer)
    return {name: read_values(join_name(layer, name), array) for name, array in cores.items()}


def _is_equal(ours: object, theirs: object, name: str) -> bool:
    return bool(np.array_equal(read_values(name, ours), read_values(name, theirs)))


def _check_leaks(layer: str, changed: NumPyArray, allowed: Sequence[Place], several: bool, what: str) -> None:
    """Raise an error that names an expert that has changed and may not."""
    leaks = changed.copy()
    for place in allowed:
        leaks[place] = False
    if leaks.any():
        place = tuple(int(number) for number in np.argwhere(leaks)[0])
        where = f" of {layer}" if several else ""
        listed = ", ".join(map(name_place, allowed[:8])) + (", …" if len(allowed) > 8 else "")
        may = f"only expert{'s' * (len(allowed) > 1)} {listed}" if allowed else "no expert"
        remedy = f"{may} may change"
        raise TensorMoEError(f"expert {name_place(place)}{where}", what, remedy)


def _check_whole(layer: str, changed: NumPyArray) -> None:
    """Raise an error if the matrix of a layer without experts has changed."""
    if changed.any():
        raise TensorMoEError(layer, "another weight", "it has no experts, and may not change")


def name_place(place: Place) -> str:
    """An expert as people write it."""
    return str(place[0]) if len(place) == 1 else str(place)

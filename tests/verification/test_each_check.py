"""For every check of verification, a fault that exactly this check notices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm
from tensormoe.layers.stage import Stage
from tensormoe.programs.program import Program
from tensormoe.verification import VerificationReport
from tensormoe.verification.arithmetic.residues import ResidueOps

torch = optional("torch")

LAYER = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate("softmax", "batch"))
OPERANDS = ["x", "a1", "a2", "expert1", "expert2", "input", "output"]
signs = pytest.mark.parametrize("sign", [1, -1], ids=["above", "below"])


def noticed(report: VerificationReport) -> set[str]:
    """The quantities whose check fails, without counts of entries and steps."""
    return {check.quantity.partition(",")[0] for check in report.checks if not check.passed}


def verify(method: str, spec: tm.Spec = LAYER, backends: Any = "numpy") -> VerificationReport:
    return tm.verify(spec, backends, methods=method)


def spoil_last(array: Any, amount: float) -> Any:
    """The array with another last entry."""
    changed = array.clone() if hasattr(array, "clone") else array.copy()
    changed[(-1,) * changed.ndim] += amount
    return changed


def spoil_gradient(monkeypatch: pytest.MonkeyPatch, number: int, kind: type, change: Callable) -> None:
    """Make one gradient of every program wrong, where it computes with one kind of arithmetic."""
    right = Program.vjp

    def vjp(self: Program, ops: Any, operands: Any, cotangent: Any) -> tuple[Any, ...]:
        gradients = [*right(self, ops, operands, cotangent)]
        if isinstance(ops, kind):
            gradients[number] = change(gradients[number])
        return tuple(gradients)

    monkeypatch.setattr(Program, "vjp", vjp)


def spoil_run(monkeypatch: pytest.MonkeyPatch, program: Program, kind: type, change: Callable) -> None:
    right = Program.run

    def run(self: Program, ops: Any, operands: Any) -> Any:
        result = right(self, ops, operands)
        return change(result) if isinstance(ops, kind) and self == program else result

    monkeypatch.setattr(Program, "run", run)


NumPy = type(tm.get_backend("numpy"))


@signs
def test_exact_output(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_run(monkeypatch, LAYER.default_plan.program, ResidueOps, lambda y: spoil_last(y, sign))
    assert noticed(verify("exact")) == {"output"}


@signs
def test_exact_weight(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = LAYER.materialization_plan.program
    spoil_run(monkeypatch, program, ResidueOps, lambda weight: spoil_last(weight, sign))
    assert noticed(verify("exact")) == {"weight"}


@signs
@pytest.mark.parametrize("number", range(len(OPERANDS)), ids=OPERANDS)
def test_exact_gradients(number: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gradient, and every entry of it: here the last."""
    spoil_gradient(monkeypatch, number, ResidueOps, lambda gradient: spoil_last(gradient, sign))
    assert noticed(verify("exact")) == {"gradients"}


def test_exact_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is not the family's: the program computes the network all the same."""
    ring = LAYER.replace(factorization=tm.TensorRing((2, 2, 2, 2)))
    assert noticed(verify("exact", ring)) == set()
    right = tm.TensorRing.notation

    def reversed_bonds(self: tm.TensorRing, levels: int) -> Any:
        text = str(right(self, levels)).split(", ")
        first = text[-1].split()
        return tm.networks.notation.Notation.parse(
            ", ".join([*text[:-1], " ".join([first[2], first[1], first[0]])])
        )

    monkeypatch.setattr(tm.TensorRing, "notation", reversed_bonds)
    assert noticed(verify("exact", ring.replace(in_features=6))) == {"network"}


@signs
def test_exact_counts_every_wrong_entry(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_run(monkeypatch, LAYER.default_plan.program, ResidueOps, lambda y: y + sign)
    (check,) = [check for check in verify("exact").checks if not check.passed]
    assert check.error == 2 * LAYER.out_features


@signs
def test_float_output(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = LAYER.default_plan.program
    spoil_run(monkeypatch, program, NumPy, lambda y: spoil_last(y, 0.25 * sign * float(y.flat[-1])))
    assert noticed(verify("float")) == {"output"}


@signs
@pytest.mark.parametrize("number", range(len(OPERANDS)), ids=OPERANDS)
def test_float_gradients(number: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them, above and below its value."""
    spoil_gradient(
        monkeypatch, number, NumPy, lambda g: spoil_last(g, 0.25 * sign * float(np.asarray(g).flat[-1]))
    )
    assert noticed(verify("float")) == {"gradients"}


def spoil_gate(monkeypatch: pytest.MonkeyPatch, part: str, level: int, amount: float) -> None:
    """Make one level's coefficients, or one of its running statistics, wrong."""
    right = tm.Gate.compute

    def compute(self: tm.Gate, ops: Any, x: Any, parameters: Any, state: Any, call: Any) -> Any:
        values, logits, moved = right(self, ops, x, parameters, state, call)
        if call.level == level and part == "coefficients":
            values = spoil_last(values, amount)
        elif call.level == level and part in moved:
            moved = {**moved, part: spoil_last(moved[part], amount)}
        return values, logits, moved

    monkeypatch.setattr(tm.Gate, "compute", compute)


@signs
@pytest.mark.parametrize("level", [0, 1])
def test_float_coefficients_of_the_gate(level: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_gate(monkeypatch, "coefficients", level, 0.25 * sign)
    assert noticed(verify("float")) == {"coefficients of the gate"}


@signs
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("part", ["gate_mean", "gate_variance"])
def test_float_running_statistics(part: str, level: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_gate(monkeypatch, part, level, 0.25 * sign)
    assert noticed(verify("float")) == {"running statistics"}


@signs
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("part", ["gate_mean", "gate_variance"])
def test_running_statistics_across_frameworks(
    part: str, level: int, sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_gate(monkeypatch, part, level, 1e-9 * sign)
    assert "running statistics" in noticed(verify("frameworks"))


def other_network(stage: Stage) -> Stage:
    """A layer with operands of the same shapes, and another contraction: its levels change places."""
    swapped = tm.TensorNetwork("n2 r, n1 r, i r, r o", r=3)
    return Stage(stage.in_features, stage.out_features, stage.experts, swapped, stage.bias)


SQUARE = tm.MuMoESpec(5, 4, (3, 3), tm.CP(3))
# Two plans: one for large batches, and one for small ones.
TWO = tm.MuMoESpec(128, 8, 32, tm.TensorNetwork("n a b, b i c, c o a", a=32, b=128, c=16), bias=False)


def give_plans(monkeypatch: pytest.MonkeyPatch, spec: tm.MuMoESpec, plans: Any) -> tm.MuMoESpec:
    """A copy of a layer that runs these plans."""
    copy = spec.replace()
    vars(copy.stage)["plans"] = tuple(plans)
    return copy


@pytest.mark.parametrize(
    "prove", [lambda spec: verify("proof", spec).passed, tm.prove], ids=["verify", "prove"]
)
def test_a_layer_that_runs_another_layers_plan_is_refused(
    prove: Callable[[tm.Spec], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is right for its own contraction, which isn't the layer's."""
    wrong = give_plans(monkeypatch, SQUARE, other_network(SQUARE.stage).plans)
    assert tm.prove(wrong.plans[0][1])
    assert refuses(prove, wrong)
    assert not refuses(prove, SQUARE)


@pytest.mark.parametrize(
    "prove", [lambda spec: verify("proof", spec).passed, tm.prove], ids=["verify", "prove"]
)
@pytest.mark.parametrize("number", [0, 1], ids=["large batches", "small batches"])
def test_each_of_several_plans_is_proved(
    number: int, prove: Callable[[tm.Spec], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = TWO.stage.plans
    assert len(right) == 2
    reordered = tm.TensorNetwork("a n b, b i c, c o a", a=32, b=128, c=16)
    other = Stage(TWO.in_features, TWO.out_features, TWO.experts, reordered, TWO.bias)
    plans = [(least, other.default_plan if n == number else plan) for n, (least, plan) in enumerate(right)]
    assert not refuses(prove, TWO)
    assert refuses(prove, give_plans(monkeypatch, TWO, plans))


def test_the_materialization_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = SQUARE.replace()
    vars(copy.stage)["materialization_plan"] = other_network(SQUARE.stage).materialization_plan
    assert noticed(verify("proof", copy)) == {"weight"}


def refuses(prove: Callable[[tm.Spec], object], spec: tm.Spec) -> bool:
    try:
        return not prove(spec)
    except tm.ProofError:
        return True


def second_torch(**methods: Callable) -> Any:
    """PyTorch's backend by another name, with some operations replaced."""
    base = type(tm.get_backend("torch"))

    class Second(base, backend_name="second"):  # type: ignore[misc, valid-type, call-arg]
        tensormoe_name = "second"

    for name, method in methods.items():
        setattr(Second, name, method)
    return Second()


@signs
@pytest.mark.parametrize("number", range(7), ids=["x", *LAYER.parameter_shapes])
def test_gradients_across_frameworks(number: int, sign: int) -> None:
    """Every gradient is compared with the slopes of the definition."""
    right = type(tm.get_backend("torch")).gradients

    def gradients(self: Any, function: Any, inputs: Any, cotangent: Any) -> tuple[Any, ...]:
        computed = [*right(self, function, inputs, cotangent)]
        computed[number % len(computed)] = computed[number % len(computed)] * (1 + 0.1 * sign)
        return tuple(computed)

    report = verify("frameworks", backends=(second_torch(gradients=gradients),))
    assert noticed(report) == {"gradients"}


def test_training_steps_across_frameworks() -> None:
    """The first gradients are right, and only those of a later step are wrong."""
    right = type(tm.get_backend("torch")).gradients
    calls = []

    def gradients(self: Any, function: Any, inputs: Any, cotangent: Any) -> tuple[Any, ...]:
        calls.append(1)
        computed = right(self, function, inputs, cotangent)
        return tuple(g * (1.01 if len(calls) == 5 else 1.0) for g in computed)

    report = verify("frameworks", backends=("torch", second_torch(gradients=gradients)))
    assert noticed(report) == {"ten training steps"}
    assert len(calls) > 10


def test_exact_arrays_have_the_shape_of_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more axis, which a difference of the two would spread over."""
    program = LAYER.materialization_plan.program
    spoil_run(monkeypatch, program, ResidueOps, lambda weight: weight[None])
    assert noticed(verify("exact")) == {"weight"}


def test_float_arrays_have_the_shape_of_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_run(monkeypatch, LAYER.default_plan.program, NumPy, lambda y: y[None])
    assert not verify("float").passed


@pytest.mark.parametrize("method", ["exact", "float"])
@pytest.mark.parametrize("number", [0, 1], ids=["large batches", "small batches"])
def test_every_program_is_run(method: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For small batches another one may be chosen than for large ones."""
    small = tm.MuMoESpec(3, 4, 3, tm.CP(3))
    other = small.replace(optimize=((0, 3), (0, 2), (1, 2), (0, 1)))
    spec = give_plans(monkeypatch, small, ((7, small.default_plan), (0, other.default_plan)))
    program = spec.plans[number][1].program
    assert program != spec.plans[1 - number][1].program
    assert verify(method, spec).passed
    kind = ResidueOps if method == "exact" else NumPy
    spoil_run(monkeypatch, program, kind, lambda y: spoil_last(y, 1 if method == "exact" else 0.5))
    assert len(noticed(verify(method, spec))) == 1


def test_reverse_mode_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Program.backward

    def backward(self: Program, *call: Any) -> Any:
        gradients = [*right(self, *call)]
        gradients[-1] = gradients[0]
        return tuple(gradients)

    monkeypatch.setattr(Program, "backward", backward)
    assert noticed(verify("proof", SQUARE)) == {"output and gradients", "weight"}


def test_exact_arrays_are_of_pythons_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other integers could have overflowed on the way."""
    program = LAYER.materialization_plan.program
    spoil_run(monkeypatch, program, ResidueOps, lambda weight: np.asarray(weight).astype("int64"))
    assert noticed(verify("exact")) == {"weight"}

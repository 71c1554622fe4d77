"""The prelude's operations are NumPy's: both compute the same integers, in whole programs too."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from support.coq import refusal
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.programs.instructions import Pad
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.names import PARTS, read_prelude
from tensormoe.verification.cuts import read_cuts

pytestmark = needs_coq

# The prelude's definitions for integers, and all indices of a shape.
_LAWS = re.compile(r"Section Certificate\.|Variables \(R.*?\.\n|Hypothesis laws.*?\.\n", re.DOTALL)
INTEGERS = """\
From Coq Require Import ZArith.
Definition R := Z. Definition zero := 0%Z. Definition one := 1%Z.
Definition add := Z.add. Definition mul := Z.mul.
Open Scope nat_scope.
"""
EVERY = """
Fixpoint every (s : list nat) : list (list nat) :=
  match s with [] => [[]] | n :: s => flat_map (fun i => map (cons i) (every s)) (seq 0 n) end.
"""


def prelude() -> str:
    text = read_prelude()
    start, rest = text.split("Section Certificate.", 1)
    meaning = _LAWS.sub("", rest[: rest.index("(* II.")])
    return start + INTEGERS + meaning + EVERY


def numbers(array: Any) -> str:
    return f"[{'; '.join(f'({int(value)})' for value in np.asarray(array).ravel())}]%Z"


def sizes(shape: Sequence[int]) -> str:
    return f"[{'; '.join(map(str, shape))}]"


def literal(array: Any) -> str:
    """An array of Coq's with these numbers."""
    shape = sizes(array.shape)
    return f"(Array {shape} (fun i => nth (flat {shape} i) {numbers(array)} 0%Z))"


def goal(text: str, result: Any) -> str:
    """That an expression has the shape and the entries of an array of NumPy's."""
    claim = f"(shape ({text}), map ({text}) (every (shape ({text}))))"
    return (
        f"Goal {claim} = ({sizes(result.shape)}, {numbers(result)}). Proof. vm_compute. reflexivity. Qed.\n"
    )


def affine(x: Any, matrix: Any) -> Any:
    return np.matmul(x, matrix[..., :-1, :]) + matrix[..., -1:, :]


def draw_operations(generator: np.random.Generator, count: int) -> Iterator[tuple[str, Any]]:
    """Operations of Coq's on random arrays, each with what NumPy gives."""

    def integers(*shape: int) -> Any:
        return generator.integers(-9, 10, size=shape)

    for _ in range(count):
        # Sizes of 0 and 1 among them.
        a, b, c, d = (int(n) for n in generator.integers(0, 4, size=4))
        x, order, axis = integers(a, b, c), generator.permutation(3), int(generator.integers(3))
        yield f"transpose {sizes(order)} {literal(x)}", np.transpose(x, order)
        yield f"reshape {sizes((a * b, 1, c))} {literal(x)}", x.reshape(a * b, 1, c)
        yield f"total {axis} {literal(x)}", x.sum(axis=axis)
        m, n = integers(a, c, d), integers(a, c + 1, d)
        yield f"matmul {literal(x)} {literal(m)}", np.matmul(x, m)
        yield f"affine {literal(x)} {literal(n)}", affine(x, n)
        stretched = integers(*(size if generator.random() < 0.5 else 1 for size in (b, c)))
        yield f"multiply {literal(x)} {literal(stretched)}", x * stretched
        yield f"plus {literal(stretched)} {literal(x)}", stretched + x
        yield f"zeros {literal(x)}", np.zeros_like(x)
        yield f"plus_one {literal(x)}", x + 1
        yield f"pointwise Z.opp {literal(x)}", -x
        yield f"pointwise_product Z.opp {literal(x)} {literal(stretched)}", -x * stretched
        yield f"pointwise_vjp Z.opp {literal(x)} {literal(stretched)}", stretched * -x
        start = int(generator.integers(x.shape[axis] + 1))
        kept = [slice(None)] * axis + [slice(start, None)]
        yield f"slice {axis} {start} {x.shape[axis] - start} {literal(x)}", x[tuple(kept)]
        shape = [*x.shape]
        shape[axis] = d
        y = integers(*shape)
        yield f"concatenate {axis} {literal(x)} {literal(y)}", np.concatenate([x, y], axis=axis)


def test_the_operations_are_those_of_numpy_on_random_shapes() -> None:
    drawn = draw_operations(np.random.default_rng(0), 12)
    goals = [goal(text, result) for text, result in drawn]
    assert len(goals) == 168
    assert refusal(prelude() + "".join(goals)) == ""


def further() -> str:
    """What only some certificates define, for integers."""
    parts = read_prelude(PARTS).replace(read_prelude().split("(* III.")[0], "").split("(* III.")[0]
    (sums,) = re.findall(r"Fixpoint sums \(s : list nat\) \(f.*?end\.\n", read_prelude(), re.DOTALL)
    meant = [part.split("(* What follows")[0] for part in re.split(r"(?=\(\* Zeros|\(\* Places)", parts)]
    return sums + "".join(meant)


def places(array: Any) -> str:
    shape, listed = sizes(array.shape), "; ".join(map(str, array.ravel()))
    return f"(fun i => nth (flat {shape} i) [{listed}] 0)"


def draw_further(generator: np.random.Generator, count: int) -> Iterator[tuple[str, Any]]:
    """Zeros around random arrays, and entries at random places, with what NumPy's backend gives."""
    ops: Any = tm.get_backend("numpy")
    for _ in range(count):
        tokens, n, m, c = (int(size) for size in generator.integers(1, 4, size=4))
        x, before, after = (
            generator.integers(-9, 10, size=(tokens, n, m)),
            *map(int, generator.integers(0, 4, size=2)),
        )
        axis = int(generator.integers(3))
        padded = Pad(0, axis, before, after).run(ops, [x], tokens)
        yield f"pad_axis {axis} {before} {padded.shape[axis]} {literal(x)}", padded
        first, second = (int(generator.integers(1, size + 1)) for size in (n, m))
        one = np.stack([generator.permutation(n)[:first] for _ in range(tokens)])
        two = np.stack([generator.permutation(m)[:second] for _ in range(tokens)])
        a = generator.integers(-9, 10, size=(tokens, n))
        taken = ops.take(a, one)
        yield f"take_at {places(one)} {first} {literal(a)}", taken
        yield f"put_back {places(one)} {literal(a)} {literal(taken)}", ops.put(taken, one, a)
        core = generator.integers(-9, 10, size=(n, c, m)).astype("float64")
        read = ops.gather(core, [one, two], (0, 2))
        both = f"[0; 2] [{places(one)}; {places(two)}]"
        yield f"gather {both} {tokens} [{first}; {second}] {literal(core)}", read
        yield f"scatter {both} {literal(core)} {literal(read)}", ops.scatter(read, [one, two], (0, 2), core)


def test_zeros_and_chosen_places_are_those_of_numpy() -> None:
    drawn = draw_further(np.random.default_rng(1), 8)
    goals = [goal(text, result) for text, result in drawn]
    assert len(goals) == 40
    assert refusal(prelude() + further() + "".join(goals)) == ""


def test_no_operation_is_left_out() -> None:
    """What a certificate can define of an array, and what is compared with NumPy above."""
    meaning = read_prelude(PARTS).split("(* III.")[0]
    definitions = re.findall(r"^Definition (\w+)(.*?)\.$", meaning, re.DOTALL | re.MULTILINE)
    defined = {name for name, body in definitions if re.search(r":=\s*(?:Array|elementwise)", body)}
    generator = np.random.default_rng(0)
    drawn = [*draw_operations(generator, 1), *draw_further(generator, 1)]
    assert defined - {text.split()[0] for text, _ in drawn} == {"elementwise"}  # what others are made of
    assert len(defined) > 17


def test_another_number_is_noticed() -> None:
    x = np.arange(6).reshape(2, 3)
    assert "Unable to unify" in refusal(prelude() + goal(f"transpose [1; 0] {literal(x)}", x.T + (x.T == 4)))


class Noting:
    """NumPy's arrays and operations; whatever is computed is noted."""

    def __init__(self, steps: list[Any], value: Any) -> None:
        self.steps, self.value = steps, np.asarray(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def note(self, value: Any) -> "Noting":
        self.steps.append(np.asarray(value))
        return Noting(self.steps, value)

    def __mul__(self, other: "Noting") -> "Noting":
        return self.note(self.value * other.value)

    def __add__(self, other: Any) -> "Noting":
        return self.note(self.value + (other.value if isinstance(other, Noting) else other))

    def __getitem__(self, key: Any) -> "Noting":
        result = self
        cuts = read_cuts(key, self.value.ndim)
        assert cuts is not None
        for axis, cut in enumerate(cuts):
            start, stop, _ = cut.indices(result.shape[axis])
            if (start, stop) != (0, result.shape[axis]):
                result = result.note(result.value[(slice(None),) * axis + (slice(start, stop),)])
        return result


class NotingOps:
    def copy(self, array: Noting) -> Noting:
        return array

    def transpose(self, array: Noting, axes: Any) -> Noting:
        return array.note(np.transpose(array.value, axes))

    def reshape(self, array: Noting, shape: Any) -> Noting:
        return array.note(np.reshape(array.value, shape))

    def sum(self, array: Noting, axis: int) -> Noting:
        return array.note(array.value.sum(axis=axis))

    def matmul(self, a: Noting, b: Noting) -> Noting:
        return a.note(np.matmul(a.value, b.value))

    def affine(self, a: Noting, b: Noting) -> Noting:
        return a.note(affine(a.value, b.value))

    def zeros_like(self, array: Noting) -> Noting:
        return array.note(np.zeros_like(array.value))

    def concatenate(self, arrays: Sequence[Noting], axis: int) -> Noting:
        return arrays[0].note(np.concatenate([each.value for each in arrays], axis=axis))


def test_whole_programs_compute_what_numpy_does_step_by_step() -> None:
    """Forwards and backwards, from the very definitions in a certificate."""
    parts = [prelude()]
    families = [(tm.CP(2), 3, True), (tm.TensorRing((2, 3, 2, 3)), (2, 3), True)]
    families += [(tm.TensorNetwork("n o, i o"), 2, True), (tm.Tucker((2, 3, 2)), 3, False)]
    for number, (family, experts, bias) in enumerate(families):
        spec, batch = tm.MuMoESpec(3, 2, experts, family, bias=bias), 2
        plan = spec.plan(batch)
        contraction, generator = plan.contraction, np.random.default_rng(number)
        known = {"…": batch, **dict(contraction.sizes)}
        shapes = [[known[index] for index in operand.indices] for operand in contraction.operands]
        shapes[0][-1] -= bias
        values = [generator.integers(-4, 5, size=shape) for shape in shapes]
        cotangent = generator.integers(-4, 5, size=[known[index] for index in contraction.output])
        steps: list[Any] = []
        operands = [Noting(steps, value) for value in values]
        ops: Any = NotingOps()
        registers: list[Any] = [*operands]
        for instruction in plan.program.instructions:
            registers.append(instruction.run(ops, registers, batch))
        plan.program.backward(ops, registers, Noting(steps, cotangent), range(len(operands)))
        text = export(contraction, plan.program)
        defined = re.findall(r"^Definition (?:t\d+|\S+') := .*\.$", text, re.MULTILINE)
        assert len(defined) == len(steps) + len(values) + 1
        names = [line.split()[1][:-1] for line in defined if line.split()[1].endswith("'")]
        parts.append(f"Module M{number}.\n")
        for index, size in contraction.sizes:
            parts.append(f"Definition N_{index} := {size - (bias and index == 'i')}.\n")
        parts.append(f"Definition N_b := {batch}.\n")
        for name, value in zip(names, [*values, cotangent], strict=True):
            shape = sizes(value.shape)
            given = f"nth (flat {shape} i) {numbers(value)} 0%Z"
            parts.append(f"Definition {name} (i : list nat) : Z := {given}.\n")
        parts.append("\n".join(defined) + "\n")
        parts += [goal(f"t{place}", value) for place, value in enumerate(steps, start=1)]
        parts.append(f"End M{number}.\n")
    assert refusal("".join(parts)) == ""

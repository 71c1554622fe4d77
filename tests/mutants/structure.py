"""Faults between the notation and the program: factorizations, contractions, plans, lowering."""

from collections.abc import Callable, Hashable

import pytest
from mutants.harness import Mutant, edit
from mutants.specs import (
    CP,
    CP_LEVELS,
    DANGLING,
    DECODERS,
    DENSE,
    DENSE_LEVELS,
    HYPEREDGE,
    MOVED,
    NAMED_LEVELS,
    RING,
    SHARED,
    SUM,
    TRAIN,
    TRANSPOSED,
    TUCKER,
    TWICE,
    WEIGHED,
)

import tensormoe as tm
from tensormoe.programs import plan as planning
from tensormoe.programs.contraction import Contraction

DEFINITION = [
    edit(
        "a ring's output core has its bonds exchanged",
        "networks.families:TensorRing.notation",
        "{leaving} {entering} {mode}",
        "{entering} {leaving} {mode}",
        RING,
        "exact",
    ),
    edit(
        "a train's rank of 1 comes last",
        "networks.families:TensorTrain.bonds",
        "(1, *self.ranks)",
        "(*self.ranks, 1)",
        TRAIN,
        "exact",
    ),
    edit(
        "a Tucker network's ranks change places",
        "networks.families:Tucker.notation",
        '"i q", "s o"',
        '"i s", "q o"',
        TUCKER,
        "exact",
    ),
    edit(
        "a hyperedge's third occurrence is lost",
        "networks.factorization:Factorization.network",
        "parse(self.notation(levels))",
        "parse(', '.join(c if n < 2 else c[-1] for n, c in enumerate(self.notation(levels).split(', '))))",
        CP,
        "exact",
    ),
    edit(
        "expert levels are named in reverse",
        "networks.notation:expert_modes",
        "for level in range(count)",
        "for level in reversed(range(count))",
        NAMED_LEVELS,
        "exact",
    ),
    edit(
        "the weight's expert modes are reversed",
        "networks.notation:modes",
        "*expert_modes(levels), ",
        "*reversed(expert_modes(levels)), ",
        DENSE_LEVELS,
        "exact",
    ),
    edit(
        "the network has no bias row",
        "layers.stage:Stage.network",
        "self.in_features + self.bias",
        "self.in_features",
        CP,
        "exact",
    ),
]

CONTRACTION = [
    edit(
        "outputs come before tokens",
        "programs.contraction:layer_contraction",
        "(BATCH, OUTPUT)",
        "(OUTPUT, BATCH)",
        lambda: CP().replace(out_features=2),
        "exact",
    ),
    edit(
        "the bias is forgotten",
        "programs.contraction:layer_contraction",
        "affine=network.bias",
        "affine=False",
        CP,
        "exact",
    ),
    edit(
        "coefficients belong to the other level",
        "programs.contraction:_coefficients",
        "enumerate(expert_modes(network.levels), start=1)",
        "enumerate(reversed(expert_modes(network.levels)), start=1)",
        CP_LEVELS,
        "exact",
    ),
    edit(
        "the weight is materialized with its levels reversed",
        "programs.contraction:weight_contraction",
        "network.carried_modes,",
        "(*expert_modes(network.levels)[::-1], INPUT, OUTPUT),",
        CP_LEVELS,
        "exact",
    ),
]


def _remembered(
    by: str,
    key: Callable[[Contraction], Hashable],
    before: Callable[[], tm.MuMoESpec],
    spec: Callable[[], tm.MuMoESpec],
) -> Mutant:
    """Plans are found again by a key that tells too little; another layer was planned before."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        known: dict[Hashable, planning.Plan] = {}
        follow = planning.follow.__wrapped__

        def remembered(contraction: Contraction, *further: object) -> planning.Plan:
            return known.setdefault(key(contraction), follow(contraction, *further))

        monkeypatch.setattr(planning, "follow", remembered)
        _ = before().default_plan

    return Mutant(f"plans are remembered by {by} alone", "programs.plan:follow", patch, spec, "exact")


def _shapes(contraction: Contraction) -> Hashable:
    sizes = dict(contraction.sizes)
    return tuple(tuple(map(sizes.get, op.indices)) for op in contraction.operands)


PLANNING = [
    _remembered("indices", lambda c: (c.operands, c.affine), lambda: DENSE().replace(in_features=7), DENSE),
    _remembered(
        "indices and sizes",
        lambda c: (c.operands, c.sizes),
        lambda: CP().replace(in_features=3, bias=False),
        CP,
    ),
    _remembered("shapes", _shapes, CP, TRANSPOSED),
    edit(
        "a path's positions are off by one",
        "programs.lowering:lower",
        "live[position] for",
        "live[position - 1] for",
        SHARED,
        "proof",
    ),
    edit(
        "a path's last step multiplies three",
        "programs.path:find_path",
        "return min(fitting).path",
        "return (*min(fitting).path[:-2], tuple(range(min(len(problem.terms), 3))))",
        DECODERS,
        "proof",
    ),
]

SUMS = [
    edit(
        "only two terms of a sum are added",
        "programs.sums:lower_sum",
        "results[1:]",
        "results[1:2]",
        SUM,
        "proof",
    ),
    edit(
        "a sum's terms take each other's cores",
        "programs.contraction:Contraction.positions",
        "self.operands[first:]], self.counts)",
        "self.operands[first:][::-1]], self.counts)",
        SUM,
        "proof",
    ),
    edit(
        "a term of a sum is computed without what the program has so far",
        "programs.sums:_Merger.append",
        "registers = [*operands]",
        "registers = [*range(len(operands))]",
        SUM,
        "proof",
    ),
    edit(
        "terms are multiplied",
        "programs.sums:_Merger.add",
        "Add(self._align",
        "Multiply(self._align",
        SUM,
        "proof",
    ),
    edit(
        "a sum's second gradient is the first's",
        "programs.instructions:Add.vjp",
        "self.sources[position]",
        "self.sources[0]",
        SUM,
        "proof",
    ),
]

LOWERING = [
    edit(
        "a permutation is inverted",
        "programs.lowering:_Lowering.permute",
        "tensor.indices.index(index) for index in order",
        "order.index(index) for index in tensor.indices",
        MOVED,
        "proof",
    ),
    edit(
        "summed indices have another order on the right",
        "programs.lowering:_Lowering.matmul",
        "groups.summed, groups.right]",
        "groups.summed[::-1], groups.right]",
        RING,
        "proof",
    ),
    edit(
        "merged axes are split in another order",
        "programs.lowering:_Groups.result",
        "*self.left, *self.right",
        "*self.left[::-1], *self.right",
        RING,
        "proof",
    ),
    edit(
        "a matrix product's sides change places",
        "programs.lowering:_Lowering.matmul",
        "Matmul(a, b)",
        "Matmul(b, a)",
        CP,
        "proof",
    ),
    edit(
        "an operand is stretched along another axis",
        "programs.lowering:_Lowering.align",
        "if trailing == tensor.indices",
        "if len(tensor.indices) < len(order)",
        TUCKER,
        "proof",
    ),
    edit(
        "a hyperedge is summed before its last core",
        "programs.lowering:lower",
        "for tensor in live for index",
        "for tensor in live[:-1] for index",
        HYPEREDGE,
        "proof",
    ),
    edit(
        "a dangling bond is not summed",
        "programs.lowering:_Lowering.sum_dangling",
        "index not in keep and index not in others",
        "index in others and index not in keep",
        DANGLING,
        "proof",
    ),
    edit(
        "a dangling bond's sum is over the last axis",
        "programs.lowering:_Lowering.sum_dangling",
        "axis = tensor.indices.index(index)",
        "axis = len(tensor.indices) - 1",
        DANGLING,
        "proof",
    ),
    edit(
        "a batched product's reshape counts the bias row",
        "programs.lowering:_Lowering.matmul",
        "self.sizes[INPUT] -= 1",
        "self.sizes[INPUT] -= 0",
        WEIGHED,
        "proof",
    ),
    edit(
        "x lacks the constant where two cores carry inputs",
        "programs.lowering:_Lowering.pair",
        "affine and (INPUT in keep or INPUT not in right.indices)",
        "affine and INPUT not in right.indices",
        TWICE,
        "proof",
    ),
]

MUTANTS = [*DEFINITION, *CONTRACTION, *PLANNING, *LOWERING, *SUMS]

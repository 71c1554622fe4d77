"""Faults of split modes: their parts in views, biases beside them, initial values, measures, and proofs."""

from functools import partial

from mutants.harness import edit

import tensormoe as tm

# Parts of equal sizes, so that no size tells them apart.
SPLIT = partial(
    tm.MuMoESpec, 9, 9, 2, tm.TensorNetwork("n i1 o1, n i2 o1 o2", i=(3, 3), o=(3, 3)), bias=False
)
BIASED = partial(tm.MuMoESpec, 6, 6, 2, tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 3), o=(3, 2)))
GROUPS = partial(tm.MuMoESpec, 4, 3, 4, tm.TensorNetwork("n1 i r, n1 n2 r o", n=(2, 2), r=2), bias=False)
_TESTS, _FAMILIES = "verification/test_splits.py", "networks/test_structured.py"

MUTANTS = [
    edit(
        "the parts of a mode change places in views",
        "networks.splits:use_parts",
        "for part in parts.get(index, (index,))",
        "for part in reversed(parts.get(index, (index,)))",
        SPLIT,
        "proof",
    ),
    edit(
        "experts in parts are viewed the other way round",
        "networks.splits:use_parts",
        "for part in parts.get(index, (index,))",
        "for part in parts.get(index, (index,))[:: -1 if index == 'n' else 1]",
        GROUPS,
        "exact",
    ),
    edit(
        "the output keeps the order of the last product",
        "programs.lowering:lower",
        "lowering.permute(result, contraction.output)",
        "replace(result, indices=contraction.output)",
        SPLIT,
        "proof",
    ),
    edit(
        "the last part of a mode varies slowest",
        "networks.splits:Split.of",
        "range(1, len(values) + 1)",
        "reversed(range(1, len(values) + 1))",
        SPLIT,
        "networks/test_splits.py::test_parts_number_the_mode_with_the_first_by_the_largest_steps",
    ),
    edit(
        "biases beside a split input have experts of the first level alone",
        "networks.network:Network.separate_biases",
        "enumerate(experts, start=1)",
        "enumerate([experts[0]] * len(experts), start=1)",
        BIASED,
        "networks/test_splits.py::test_biases_beside_a_split_input_are_terms_of_their_own",
    ),
    edit(
        "the parts of an input count for nothing at the start",
        "layers.linear_start:_laws",
        "identities.roots(core) | parts & {*core.indices}",
        "identities.roots(core)",
        BIASED,
        f"{_TESTS}::test_outputs_start_at_the_scale_of_a_linear_layer",
    ),
    edit(
        "experts in parts start equal",
        "layers.linear_start:_noisy_modes",
        "in expert_indices(network)",
        "in expert_modes(network.levels)",
        GROUPS,
        f"{_TESTS}::test_experts_in_parts_start_different",
    ),
    edit(
        "measures make a mode up of its parts in reverse",
        "layers.parts:with_whole_modes",
        "np.eye(network.sizes[split.mode], split.size)",
        "np.eye(network.sizes[split.mode], split.size)[::-1]",
        BIASED,
        f"{_TESTS}::test_measures_of_experts_are_those_of_the_weight",
    ),
]

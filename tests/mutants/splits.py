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
PADDED = partial(
    tm.MuMoESpec, 7, 5, 2, tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2), pad=True), bias=False
)
# A bias in one row more than there are inputs: as many as the parts make up.
BESIDE = partial(
    tm.MuMoESpec, 7, 4, 2, tm.TensorNetwork("n i1 o, i2 o", i=(2, 4), pad=True) + tm.TensorNetwork("i o")
)
_PADDING, _PARTS = "verification/test_padding.py", "networks/test_padding.py"
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
    edit(
        "zeros stand before padded inputs",
        "programs.lowering:_Lowering.take",
        "Pad(result.register, axis, 0, further)",
        "Pad(result.register, axis, further, 0)",
        PADDED,
        "proof",
    ),
    edit(
        "the last values of a padded output are kept",
        "programs.instructions:Cut.run",
        "self.axis, 0, self.size)",
        "self.axis, -self.size, None)",
        PADDED,
        "proof",
    ),
    edit(
        "the gradient of what is cut has its zeros before it",
        "programs.instructions:Cut.vjp",
        "self.axis, 0, whole - self.size)",
        "self.axis, whole - self.size, 0)",
        PADDED,
        "proof",
    ),
    edit(
        "the row of the biases is taken for padding",
        "verification.proof.world:World.lengthen",
        "term.factors - rows",
        "term.factors",
        BESIDE,
        "proof",
    ),
    edit(
        "zeros may follow what is not 0 there",
        "verification.proof.padding:Padding.ends",
        "not self.ending.isdisjoint(factors)",
        "True",
        PADDED,
        f"{_PADDING}::test_zeros_are_put_behind_nothing_but_what_ends_there",
    ),
    edit(
        "inputs that are padding count at the start",
        "layers.linear_start:_laws",
        "(padding if parts",
        "(1 if parts",
        PADDED,
        f"{_PADDING}::test_real_rows_start_at_the_scale_of_a_linear_layer",
    ),
    edit(
        "parts may have values that are all padding",
        "networks.splits:Split.fewest",
        "rest * max(first - 1, 1) + 1",
        "1",
        PADDED,
        f"{_PARTS}::test_the_fewest_values_of_a_mode_use_all_values_of_its_parts",
    ),
    edit(
        "the parts of a level have the names of other levels",
        "networks.splits:Split.of",
        'mode if mode.isalpha() else f"{mode}_"',
        "mode[:1] if mode != 'i' else mode",
        PADDED,
        f"{_PARTS}::test_each_of_several_levels_has_parts_of_its_own",
    ),
]

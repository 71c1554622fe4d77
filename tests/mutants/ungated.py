"""Faults of layers without a gate or without experts, and of merged experts."""

from functools import partial

from mutants.harness import edit
from mutants.specs import CP

import tensormoe as tm

UNGATED = partial(tm.MuMoESpec, 2, 3, 3, tm.CP(3), None)
_TORCH = "tensormoe_torch"
_TESTS, _MERGING = "layers/test_ungated.py", "layers/test_merging.py"
_TORCH_TESTS = "backends/torch/test_torch_ungated.py"

MUTANTS = [
    edit(
        "coefficients of a call do not replace a gate's",
        "layers.functional:apply",
        "read_given(ops, spec, coefficients, x)",
        "read_given(ops, spec, None, x)",
        CP,
        f"{_TESTS}::test_coefficients_take_the_place_of_a_gates_and_its_statistics_stay",
        ("numpy",),
    ),
    edit(
        "PyTorch: the gate runs although coefficients are given",
        f"{_TORCH}._gate:GateModule.forward",
        "if coefficients is not None:",
        "if coefficients is not None and self.spec.gate is None:",
        CP,
        f"{_TORCH_TESTS}::test_hooks_and_recordings_see_what_was_passed[gate]",
        ("torch",),
    ),
    edit(
        "PyTorch: a layer without experts hands its coefficients on",
        f"{_TORCH}._routing:_layers",
        " and module.experts",
        "",
        CP,
        f"{_TORCH_TESTS}::test_a_layer_without_experts_between_two_hands_nothing_on",
        ("torch",),
    ),
    edit(
        "the definition takes no coefficients",
        "verification.reference.layer:compute",
        "mix(spec, parameters, given, x)",
        "mix(spec, parameters, [a[::-1] for a in given], x)",
        UNGATED,
        "frameworks",
    ),
    edit(
        "merged terms without experts are taken for biases",
        "programs.contraction:Contraction._is_bias",
        "self.is_weight or not self.data",
        "not self.data",
        CP,
        f"{_MERGING}::test_a_term_that_lacks_experts_has_the_sum_of_their_coefficients[i o + n o]",
        ("numpy",),
    ),
    edit(
        "merging is planned for many sequences",
        "layers.stage:Stage.merging_plan",
        "merging_contraction(self.network), 1)",
        "merging_contraction(self.network), 1024)",
        CP,
        f"{_MERGING}::test_the_weights_of_all_experts_are_not_built[CP(rank=6)]",
        ("numpy",),
    ),
    edit(
        "merged experts of other sequences fit",
        "layers.checks:read_sequences",
        "tokens[: len(leading)] != leading",
        "prod(leading) > prod(tokens)",
        CP,
        f"{_MERGING}::test_sequences_are_the_first_axes_of_the_input",
        ("numpy",),
    ),
    edit(
        "the second branch of a gated block is not merged",
        "layers.in_turn:compute_in_turn",
        "result = result * run(prefix, hidden)",
        "result = result * 1.0",
        CP,
        f"{_MERGING}::test_a_module_computes_with_one_weight_for_each_sequence[(2,)-block-numpy]",
        ("numpy",),
    ),
]

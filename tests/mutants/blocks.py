"""Faults in blocks whose layers have factorizations, biases and experts of their own."""

from mutants.harness import edit
from mutants.specs import CP, ENCODER, MIXED_BIASES, RELU_TOP_K

LAYERS, INPUTS = "layers/test_each_layer.py", "layers/test_router_input.py"

MUTANTS = [
    edit(
        "a layer without experts is given the block's",
        "layers.block_spec:MuMoEBlockSpec._separate",
        "self.experts if own or not any(carried) else ()",
        "self.experts",
        ENCODER,
        f"{LAYERS}::test_coefficients_go_to_the_layers_with_experts_alone",
    ),
    edit(
        "layers have their factorizations in reverse",
        "layers.block_spec:MuMoEBlockSpec._separate",
        "spread(self.factorization, count), spread",
        "spread(self.factorization, count)[::-1], spread",
        ENCODER,
        f"{LAYERS}::test_every_layer_is_its_own_factorization",
    ),
    edit(
        "a layer's operands start where coefficients of all layers would end",
        "programs.program:chain_registers",
        "start=1 + max(levels)",
        "start=1 + sum(levels)",
        MIXED_BIASES,
        "proof",
    ),
    edit(
        "a layer after one without experts takes its first core for coefficients",
        "programs.program:chain_registers",
        "[x, *range(1, 1 + levels[number])",
        "[x, *range(2 - min(levels), 2 - min(levels) + levels[number])",
        ENCODER,
        "proof",
    ),
    edit(
        "the prover takes rows of inputs for all rows where another layer has a bias",
        "verification.proof.claims:rows_of",
        "for index in inputs if not contraction.affine",
        "for index in ()",
        MIXED_BIASES,
        "proof",
    ),
    edit(
        "matching grows the bonds of the first layer alone",
        "layers.matching:Growth.factorizations",
        "sizes.get(name, {})",
        "sizes.get(name, {}) if stage is next(iter(self.layers.values())) else {}",
        ENCODER,
        f"{LAYERS}::test_matching_grows_all_layers_to_one_rank_and_leaves_those_without_bonds",
    ),
    edit(
        "a layer without experts may change unnoticed",
        "editing.certify:_check_whole",
        "if changed.any():",
        "if changed.all() and False:",
        ENCODER,
        "editing/test_without_experts.py::test_its_certificate_tells_layers_without_experts",
    ),
    edit(
        "a router reads x in place of its own input",
        "layers.checks:read_router_input",
        "return own",
        "return x",
        CP,
        f"{INPUTS}::test_any_layer_takes_an_input_for_its_router_of_its_own_size",
    ),
    edit(
        "a router that needs an input of its own reads x without it",
        "layers.checks:read_router_input",
        "if spec.gate_features is not None and given is None:",
        "if spec is None:",
        CP,
        f"{INPUTS}::test_what_no_router_can_read_is_refused",
    ),
    edit(
        "the gate's weights start for an input of x's size",
        "layers.names:Names.gate_levels",
        "self.router_features, n)",
        "self.in_features, n)",
        CP,
        f"{INPUTS}::test_sizes_and_starts_follow_the_routers_input",
    ),
    edit(
        "the definition's router reads x",
        "verification.reference.layer:compute",
        "x if router_input is None else router_input",
        "x",
        CP,
        f"{INPUTS}::test_a_router_with_an_input_of_its_own_is_verified",
    ),
    edit(
        "ReLU of the k largest keeps negative logits",
        "gates.unnormalised:relu_top_k",
        "| (constant <= 0)",
        "| (constant != constant)",
        RELU_TOP_K,
        "frameworks",
    ),
    edit(
        "PyTorch: of logits equal to the k-th largest, all are kept",
        "tensormoe_torch._backend:TorchBackend.beyond_largest",
        "(values[..., k:] != kth).all()",
        "True",
        RELU_TOP_K,
        "gates/test_unnormalised.py::test_values_equal_the_definition",
        ("torch",),
    ),
]

"""Faults in cores that several layers of a block share."""

from mutants.harness import edit
from mutants.specs import JOINT

LAYERS = "layers/test_joint.py"
EDITS = "editing/test_joint.py"

MUTANTS = [
    edit(
        "layers that share a core are proved as if each had its own",
        "verification.proof.chain:_name_uses",
        "identify_core(layer, number, core.name)",
        "(number, core.name)",
        JOINT,
        "proof",
    ),
    edit(
        "a block's program takes a shared core once for each layer",
        "programs.contraction:name_operands",
        "identify_core(each, number, core.name)",
        "(number, core.name)",
        JOINT,
        "proof",
    ),
    edit(
        "a step that layers have in common is taken from the wrong layer",
        "programs.program:chain_registers",
        "register = known.get(moved, count + len(instructions) - 1)",
        "register = known.get(moved, count + len(instructions) - 1) - (moved in known)",
        JOINT,
        "proof",
    ),
    edit(
        "steps in common are counted for each layer",
        "programs.block_plan:BlockPlan.common",
        "if at in known",
        "if at not in known and not known",
        JOINT,
        f"{LAYERS}::test_steps_in_common_are_taken_and_counted_once",
    ),
    edit(
        "layers share cores of different shapes",
        "layers.joint:_check_alike",
        "len({*shapes.values()}) > 1",
        "len({*map(len, shapes.values())}) > 1",
        JOINT,
        f"{LAYERS}::test_what_cannot_be_shared_is_refused_with_a_remedy[another shape]",
    ),
    edit(
        "a core that layers share starts as that of one of them",
        "layers.initialization:recipes",
        "[spec.layers] if joined else",
        "[] if joined and False else",
        JOINT,
        f"{LAYERS}::test_it_starts_at_the_mean_variance_of_its_layers",
    ),
    edit(
        "bonds of a core that layers share grow to different sizes",
        "layers.matching:_tie",
        "= max(shares)",
        "= max(shares) / (1 + (name == 'first'))",
        JOINT,
        f"{LAYERS}::test_matching_grows_what_a_shared_core_ties_alike",
    ),
    edit(
        "an edit in one layer changes a core that others use",
        "networks.network:Network.held",
        "*self.joint, ",
        "",
        JOINT,
        EDITS,
    ),
    edit(
        "a square's slope is constant where a block is compared in exact arithmetic",
        "verification.exact_block:_Definition.compute",
        "2 * u * v * hidden",
        "2 * v * hidden",
        JOINT,
        "exact",
    ),
    edit(
        "PyTorch: layers that share a core have copies of it",
        "tensormoe_torch._tying:share",
        "group.register_parameter(member, parameter)",
        "group.register_parameter(member, nn.Parameter(parameter.detach().clone()))",
        JOINT,
        "backends/torch/test_torch_tying.py::test_it_is_counted_once_and_has_the_first_values",
    ),
    edit(
        "JAX: layers that share a core have copies of it",
        "tensormoe_jax._tying:share",
        "group[member] = variable",
        "group[member] = nnx.Param(variable.get_value())",
        JOINT,
        "backends/jax/test_jax_tying.py::test_it_is_one_variable_that_splits_and_merges",
        ("numpy", "jax"),
    ),
    edit(
        "parameters of different shapes become one",
        "layers.tying:choose_tied",
        "if one != other",
        "if len(str(one)) != len(str(other))",
        JOINT,
        "backends/torch/test_torch_tying.py::test_what_cannot_be_one_is_refused_before_anything_changes",
    ),
    edit(
        "the reference looks for a shared core in each layer",
        "verification.reference.layer:_terms",
        "core.name in layer.joint",
        "core.name in layer.joint[1:]",
        JOINT,
        "float",
    ),
]

"""Faults in cores that are not trained: what they are, where they stay, what starts beside them."""

from mutants.harness import edit
from mutants.specs import LORA, MIXED

NETWORKS, LAYERS = "networks/test_fixed.py", "layers/test_fixed.py"
IDENTITIES = "networks/test_identities.py"

MUTANTS = [
    edit(
        "fixed cores are counted among the parameters",
        "networks.network:Network.trained",
        "if name not in fixed",
        "if name",
        LORA,
        f"{NETWORKS}::test_fixed_cores_are_counted_apart",
    ),
    edit(
        "an identity goes though a core would carry an index twice",
        "networks.identities:_can_merge",
        "== 1",
        ">= 1",
        MIXED,
        f"{IDENTITIES}::test_an_identity_stays_where_its_array_is_needed",
    ),
    edit(
        "an identity of two modes goes",
        "networks.identities:_drop_from",
        "len(modes) > 1",
        "len(modes) > 2",
        MIXED,
        f"{IDENTITIES}::test_an_identity_stays_where_its_array_is_needed",
    ),
    edit(
        "a Hadamard matrix has no differences",
        "networks.recipes:_hadamard",
        "[matrix, -matrix]",
        "[matrix, matrix]",
        MIXED,
        f"{NETWORKS}::test_hadamard_is_orthogonal_up_to_its_size_and_has_only_signs",
    ),
    edit(
        "an array with another digest takes the place of one",
        "networks.fixed:Fixed.fill",
        "if given != self:",
        "if given.shape != self.shape:",
        LORA,
        f"{NETWORKS}::test_a_large_array_is_a_digest_in_json_and_its_values_are_given_again",
    ),
    edit(
        "what starts beside fixed cores makes up for them the wrong way",
        "layers.fixed_start:FixedStart.adapt",
        "power(recipe) / self.squares[name]",
        "self.squares[name] / power(recipe)",
        MIXED,
        f"{LAYERS}::test_beside_fixed_cores_the_output_starts_at_the_scale_of_a_linear_layer",
    ),
    edit(
        "beside a frozen weight, what experts differ by starts at zero",
        "layers.fixed_start:FixedStart.adapt",
        "{*self.squares, *noisy, *shared}",
        "{*self.squares, *shared}",
        LORA,
        f"{LAYERS}::test_a_layer_beside_a_frozen_weight_starts_as_the_weight_and_learns",
    ),
    edit(
        "exact arithmetic draws fixed integers",
        "verification.inputs:integer_inputs",
        "if each.is_whole",
        "if not each",
        MIXED,
        f"{LAYERS}::test_exact_arithmetic_takes_the_integers_of_fixed_cores",
    ),
    edit(
        "an edit of an expert changes a row of a fixed core",
        "editing.draft:Draft._find_carrier",
        "{*self.stage.network.shared, *dict(self.stage.network.fixed)}",
        "{*self.stage.network.shared}",
        LORA,
        f"{LAYERS}::test_edits_leave_fixed_cores_as_they_are",
    ),
    edit(
        "two cores of what grows beside a frozen weight are zero",
        "ranks.grow:choose_zero",
        "core.name not in empty, ",
        "False, ",
        LORA,
        f"{LAYERS}::test_ranks_change_beside_fixed_cores",
    ),
    edit(
        "NumPy: fixed cores have the statistics' type",
        "tensormoe_numpy._base:Module.from_arrays",
        "for name in spec.statistics_shapes",
        "for name in spec.state_shapes",
        LORA,
        f"{LAYERS}::test_a_fixed_core_has_the_type_of_the_parameters",
    ),
    edit(
        "JAX: a fixed core is a parameter",
        "tensormoe_jax._base:Module._hold",
        "dict.fromkeys(spec.fixed_shapes, Fixed)",
        "{}",
        LORA,
        "backends/jax/test_jax_fixed.py::test_a_fixed_core_is_a_variable_of_its_own_kind_among_the_cores",
        ("numpy", "jax"),
    ),
]

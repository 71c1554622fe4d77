"""Faults in the module classes of NumPy and JAX: what they hand on, keep, and show."""

from mutants.harness import edit
from mutants.specs import BATCH_NORM, BLOCK, CP, GATED_LEVELS, NOISY

NUMPY, BASE, JAX = "tensormoe_numpy._module", "tensormoe_numpy._base", "tensormoe_jax"
BLOCKS = "layers/test_blocks.py"
MODULES = "layers/test_modules.py"
NOISE = "gates/test_noise.py"

OF_NUMPY = [
    edit(
        "NumPy: the layer before is not handed on",
        f"{BASE}:Module.__call__",
        "previous=previous",
        "previous=None",
        NOISY,
        f"{MODULES}::test_the_layer_before_is_heard[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: evaluation forgets the running statistics",
        f"{BASE}:Module.__call__",
        "state=self.state",
        "state=initialize(self.spec, 0)[1]",
        BATCH_NORM,
        f"{MODULES}::test_modules_compute_what_apply_computes_in_evaluation[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: evaluation trains",
        f"{BASE}:Module.__call__",
        "previous=previous,",
        "previous=previous, training=True,",
        BATCH_NORM,
        f"{MODULES}::test_modules_compute_what_apply_computes_in_evaluation[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: the element type is ignored",
        f"{BASE}:Module.__init__",
        ".astype(wanted, copy=False)",
        "",
        CP,
        f"{MODULES}::test_an_element_type_is_that_of_the_parameters",
        ("numpy",),
    ),
    edit(
        "NumPy: float64 parameters are drawn in float32",
        f"{BASE}:Module.__init__",
        'if wanted == "float64"',
        "if False",
        CP,
        f"{MODULES}::test_values_are_drawn_in_the_parameters_type[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: the first seed is everyone's",
        f"{BASE}:Module.__init__",
        "int(np.random.randint(2**63 - 1, dtype=np.int64))",
        "0",
        CP,
        f"{MODULES}::test_without_a_seed_the_frameworks_generator_draws_one[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: a block materializes its first layer twice",
        f"{NUMPY}:MuMoEBlock.materialize",
        "self._cores(name)",
        'self._cores("first")',
        BLOCK,
        f"{BLOCKS}::test_a_block_materializes_both_of_its_layers[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: gate weights come in reverse",
        f"{BASE}:Module.gate_weights",
        'list(self._members("gate_weights").values())',
        'list(self._members("gate_weights").values())[::-1]',
        GATED_LEVELS,
        f"{MODULES}::test_gate_weights_come_level_by_level[numpy]",
        ("numpy",),
    ),
]

OF_JAX = [
    edit(
        "JAX: all levels have the same noise",
        f"{JAX}._backend:JaxBackend.normal",
        "jax.random.fold_in(generator, number)",
        "generator",
        NOISY,
        f"{NOISE}::test_every_entry_of_every_level_has_noise_of_its_own[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: a block materializes its first layer twice",
        f"{JAX}._module:MuMoEBlock.materialize",
        "self._cores(name)",
        'self._cores("first")',
        BLOCK,
        f"{BLOCKS}::test_a_block_materializes_both_of_its_layers[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: running statistics stay in training",
        f"{JAX}._base:Module.__call__",
        "if training:",
        "if False:",
        BATCH_NORM,
        f"{MODULES}::test_running_statistics_move_in_training_alone[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: the gate never trains",
        f"{JAX}._base:Module.__call__",
        "training = not self.use_running_average",
        "training = False",
        BATCH_NORM,
        f"{MODULES}::test_running_statistics_move_in_training_alone[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: a view keeps its mode",
        f"{JAX}._base:Module.set_view",
        'self.use_running_average = true_or_false("use_running_average", use_running_average)',
        "pass",
        BATCH_NORM,
        "backends/jax/test_modules.py::test_views_set_the_mode_of_the_gate",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: the layer before is not handed on",
        f"{JAX}._base:Module.__call__",
        "previous=previous",
        "previous=None",
        NOISY,
        f"{MODULES}::test_the_layer_before_is_heard[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: a sum over devices is not handed on",
        f"{JAX}._base:Module.__call__",
        "all_reduce=all_reduce",
        "all_reduce=None",
        NOISY,
        f"{MODULES}::test_a_sum_over_processes_is_used[jax]",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: recomputation is forgotten",
        f"{JAX}._base:Module.__call__",
        "recompute=self.recompute",
        "recompute=False",
        BLOCK,
        f"{MODULES}::test_jax_recomputes_where_it_is_told_to",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: a key draws the same for all cores",
        f"{JAX}._drawing:draw",
        "_JAXSource(own_key, dtype)",
        "_JAXSource(key, dtype)",
        CP,
        "backends/jax/test_initial_values.py::test_cores_of_one_shape_are_drawn_apart",
        ("numpy", "jax"),
    ),
    edit(
        "JAX: arrays are loaded in reverse",
        f"{JAX}._base:Module._hold",
        "nnx.List(variables.values())",
        "nnx.List([*variables.values()][::-1])",
        GATED_LEVELS,
        f"{MODULES}::test_gate_weights_come_level_by_level[jax]",
        ("numpy", "jax"),
    ),
]

MUTANTS = [*OF_NUMPY, *OF_JAX]

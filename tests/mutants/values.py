"""Faults in the values that layers start with, load, and normalise."""

from mutants.harness import edit
from mutants.specs import BATCH_NORM, BLOCK, CP, CP_LEVELS

LOADING = "layers/test_loading.py"
BLOCKS = "layers/test_blocks.py"

READING = [
    edit(
        "loaded shapes are not compared",
        "layers.loading:_read",
        "tuple(array.shape) != shape",
        "len(array.shape) != len(shape)",
        CP,
        f"{LOADING}::test_what_does_not_fit_is_refused_and_nothing_changes",
    ),
    edit(
        "integers are loaded",
        "layers.loading:_read",
        '"float" not in str(',
        "False and str(",
        CP,
        f"{LOADING}::test_what_does_not_fit_is_refused_and_nothing_changes",
    ),
    edit(
        "names are not compared",
        "layers.loading:read_arrays",
        "arrays.keys() != shapes.keys()",
        "not arrays.keys() >= shapes.keys()",
        CP,
        f"{LOADING}::test_what_does_not_fit_is_refused_and_nothing_changes",
    ),
    edit(
        "NumPy: running statistics are not loaded",
        "tensormoe_numpy._base:Module.load_arrays",
        "for held in (self.parameters, self.state):",
        "for held in (self.parameters,):",
        BATCH_NORM,
        f"{LOADING}::test_parameters_and_statistics_are_loaded_by_name",
        ("numpy",),
    ),
    edit(
        "NumPy: loaded arrays are shared",
        "tensormoe_numpy._base:Module.load_arrays",
        ".astype(old.dtype)",
        ".astype(old.dtype, copy=False)",
        CP,
        f"{LOADING}::test_loaded_arrays_are_copies",
        ("numpy",),
    ),
    edit(
        "NumPy: parameters take the type of what is loaded",
        "tensormoe_numpy._base:Module.load_arrays",
        ".astype(old.dtype)",
        ".copy()",
        CP,
        f"{LOADING}::test_a_module_keeps_its_types",
        ("numpy",),
    ),
    edit(
        "PyTorch: loaded arrays are rounded to float32",
        "tensormoe_torch._values:to_tensor",
        "array.dtype if",
        "np.float32 if",
        CP,
        f"{LOADING}::test_parameters_and_statistics_are_loaded_by_name",
        ("torch",),
    ),
    edit(
        "cores of a name come from the other layer",
        "layers.parameters:cores_of",
        "name_core(str(prefix), stage, name) for",
        "name_core(prefixes[0], stage, name) for",
        BLOCK,
        "layers/test_layer.py::test_cores_of_names_the_layer",
    ),
]

INITIAL = [
    edit(
        "a block's two layers have equal seeds",
        "layers.initialization:initialize",
        "core.draw(source)",
        "core.draw(_NumPySource(np.random.default_rng(seed)))",
        BLOCK,
        f"{BLOCKS}::test_the_two_layers_start_with_values_of_their_own",
    ),
    edit(
        "the input norm starts with a scale of 0",
        "layers.initialization:constant_values",
        '"input_norm.weight": 1.0',
        '"input_norm.bias": 1.0',
        BLOCK,
        f"{BLOCKS}::test_an_input_norm_starts_as_the_identity",
    ),
    edit(
        "the input norm is computed in half precision",
        "layers.functional:normalize_input",
        "at_least_float32(dtype)",
        "dtype",
        BLOCK,
        f"{BLOCKS}::test_an_input_norm_is_computed_in_float32_at_least",
    ),
    edit(
        "names of ten and more levels are not recognised",
        "networks.notation:is_mode",
        "_EXPERT.fullmatch(name) is not None",
        "_EXPERT.fullmatch(name) is not None and len(name) < 3",
        CP_LEVELS,
        "networks/test_many_levels.py::test_modes_have_their_names",
    ),
]

MUTANTS = [*READING, *INITIAL]

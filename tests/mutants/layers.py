"""Faults in how layers and blocks are put together around their contractions."""

from mutants.harness import edit
from mutants.specs import BATCH_NORM, BLOCK, CLUSTERS, CORES, GATED_LEVELS, NORMED_BLOCK

LAYERS = [
    edit(
        "levels exchange their coefficients",
        "layers.functional:run_mixture",
        "(tokens, *flat)",
        "(tokens, *reversed(flat))",
        GATED_LEVELS,
        "frameworks",
    ),
    edit(
        "cores are passed in reverse",
        "layers.functional:run_mixture",
        "for name in spec.core_names]",
        "for name in reversed(spec.core_names)]",
        CORES,
        "frameworks",
    ),
    edit(
        "training is not told to the gate",
        "layers.functional:run_gate",
        "Call(training, ",
        "Call(False, ",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "statistics are returned as they were",
        "layers.functional:run_gate",
        "logits, moved)",
        "logits, state)",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "the layer before is forgotten",
        "layers.functional:run_gate",
        "None if before is None else before[level]",
        "None",
        CLUSTERS,
        "frameworks",
    ),
    edit(
        "leading dimensions return in reverse",
        "layers.functional:unflatten",
        "(*x.shape[:-1], ",
        "(*x.shape[:-1][::-1], ",
        CORES,
        "frameworks",
    ),
    edit(
        "materializing takes cores in reverse",
        "layers.cores:materialize",
        "for name in shapes]",
        "for name in reversed(shapes)]",
        CORES,
        "frameworks",
    ),
]

BLOCKS = [
    edit(
        "the layers change places",
        "layers.names:Names.core_names",
        "self.layers.items()",
        "reversed(self.layers.items())",
        BLOCK,
        "frameworks",
    ),
    edit(
        "coefficients follow from the normalised input",
        "layers.functional:run_gate",
        "compute_levels, tokens, ",
        "compute_levels, layer_norm(ops, tokens), ",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input is not normalised",
        "layers.functional:normalize_input",
        "return normalized *",
        "return tokens *",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm lacks its shift",
        "layers.functional:normalize_input",
        ' + parameters["input_norm.bias"]',
        ' + 0 * parameters["input_norm.bias"]',
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm's scale is its shift",
        "layers.functional:normalize_input",
        ' + parameters["input_norm.bias"]',
        ' + parameters["input_norm.weight"]',
        NORMED_BLOCK,
        "frameworks",
        ("numpy",),
    ),
]

PLANS = [
    edit(
        "a memory limit reaches no plan",
        "programs.plan:plans_by_batch",
        "find_path(contraction, batch_size, optimize, memory_limit, paths)",
        "find_path(contraction, batch_size, optimize, None, paths)",
        CORES,
        "programs/test_path.py::test_a_refused_limit_names_the_smallest_that_was_found",
    ),
    edit(
        "plans for small batches pass the memory limit",
        "programs.plan:_fits",
        "memory_limit is None or plan.largest <= memory_limit",
        "True",
        CORES,
        "programs/test_path.py::test_a_path_for_small_batches_keeps_the_limit_up_to_the_largest_of_them",
    ),
    edit(
        "a block's second layer has no memory limit",
        "layers.block_spec:MuMoEBlockSpec._separate",
        "search, self.memory_limit",
        "search, self.memory_limit if name == 'first' else None",
        BLOCK,
        "programs/test_path.py::test_a_refused_limit_names_the_smallest_that_was_found",
    ),
    edit(
        "a path of the user's is not run",
        "layers.stage:Stage.plans",
        "self.optimize",
        '"auto"',
        CORES,
        "programs/test_path.py::test_a_given_path_is_run_at_every_batch_size",
    ),
]

MUTANTS = [*LAYERS, *BLOCKS, *PLANS]

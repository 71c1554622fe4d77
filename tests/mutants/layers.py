"""Faults in how layers and blocks are put together around their contractions."""

from mutants.harness import edit
from mutants.specs import BATCH_NORM, BLOCK, CLUSTERS, CORES, GATED_LEVELS, NORMED_BLOCK

LAYERS = [
    edit(
        "levels exchange their coefficients",
        "layers.functional:apply",
        "*coefficients, *cores)",
        "*reversed(coefficients), *cores)",
        GATED_LEVELS,
        "frameworks",
    ),
    edit(
        "cores are passed in reverse",
        "layers.functional:apply",
        "for name in spec.core_names)",
        "for name in reversed(spec.core_names))",
        CORES,
        "frameworks",
    ),
    edit(
        "training is not told to the gate",
        "layers.functional:apply",
        "Call(training, ",
        "Call(False, ",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "statistics are returned as they were",
        "layers.functional:apply",
        "for a in coefficients]), moved",
        "for a in coefficients]), state",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "the layer before is forgotten",
        "layers.functional:apply",
        "Call(training, before",
        "Call(training, None",
        CLUSTERS,
        "gates/test_routers.py",
    ),
    edit(
        "leading dimensions return in reverse",
        "layers.functional:apply",
        "(y, (*leading, ",
        "(y, (*leading[::-1], ",
        CORES,
        "frameworks",
    ),
    edit(
        "materializing takes cores in reverse",
        "layers.functional:materialize",
        "for name in spec.network.shapes]",
        "for name in reversed(spec.network.shapes)]",
        CORES,
        "frameworks",
    ),
]

BLOCKS = [
    edit(
        "the layers change places",
        "layers.spec:Spec.core_names",
        "self.layers.items()",
        "reversed(self.layers.items())",
        BLOCK,
        "frameworks",
    ),
    edit(
        "coefficients follow from the normalised input",
        "layers.functional:apply",
        "parameters, tokens, spec.levels",
        "parameters, layer_norm(ops, tokens), spec.levels",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input is not normalised",
        "layers.functional:_normalized",
        "return normalized *",
        "return tokens *",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm lacks its shift",
        "layers.functional:_normalized",
        ' + parameters["input_norm.bias"]',
        ' + 0 * parameters["input_norm.bias"]',
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm's scale is its shift",
        "layers.functional:_normalized",
        ' + parameters["input_norm.bias"]',
        ' + parameters["input_norm.weight"]',
        NORMED_BLOCK,
        "frameworks",
        ("numpy",),
    ),
]

MUTANTS = [*LAYERS, *BLOCKS]

"""Faults in how layers and blocks are put together around their contractions."""

from mutants_harness import edit
from mutants_specs import BATCH_NORM, BLOCK, CLUSTERS, CORES, GATED_LEVELS, NORMED_BLOCK

LAYERS = [
    edit(
        "levels exchange their coefficients",
        "layer:apply",
        "*coefficients, *cores)",
        "*reversed(coefficients), *cores)",
        GATED_LEVELS,
        "frameworks",
    ),
    edit(
        "cores are passed in reverse",
        "layer:apply",
        "for name in spec.core_names)",
        "for name in reversed(spec.core_names))",
        CORES,
        "frameworks",
    ),
    edit(
        "training is not told to the gate",
        "layer:apply",
        "Call(training, ",
        "Call(False, ",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "statistics are returned as they were",
        "layer:apply",
        "for a in coefficients]), moved",
        "for a in coefficients]), state",
        BATCH_NORM,
        "frameworks",
    ),
    edit(
        "the layer before is forgotten",
        "layer:apply",
        "Call(training, before",
        "Call(training, None",
        CLUSTERS,
        "tests/test_routers.py",
    ),
    edit(
        "leading dimensions return in reverse",
        "layer:apply",
        "(y, (*leading, ",
        "(y, (*leading[::-1], ",
        CORES,
        "frameworks",
    ),
    edit(
        "materializing takes cores in reverse",
        "layer:materialize",
        "for name in spec.network.shapes]",
        "for name in reversed(spec.network.shapes)]",
        CORES,
        "frameworks",
    ),
]

BLOCKS = [
    edit(
        "the layers change places",
        "spec:Spec.core_names",
        "self.layers.items()",
        "reversed(self.layers.items())",
        BLOCK,
        "frameworks",
    ),
    edit(
        "coefficients follow from the normalised input",
        "layer:apply",
        "parameters, tokens, spec.levels",
        "parameters, layer_norm(tl, tokens), spec.levels",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input is not normalised",
        "layer:_normalized",
        "return normalized *",
        "return tokens *",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm lacks its shift",
        "layer:_normalized",
        ' + parameters["input_norm.bias"]',
        ' + 0 * parameters["input_norm.bias"]',
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm's scale is its shift",
        "layer:_normalized",
        ' + parameters["input_norm.bias"]',
        ' + parameters["input_norm.weight"]',
        NORMED_BLOCK,
        "frameworks",
        ("numpy",),
    ),
]

MUTANTS = [*LAYERS, *BLOCKS]

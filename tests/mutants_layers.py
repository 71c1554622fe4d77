"""Faults in how layers and blocks are put together around their contractions."""

from mutants_harness import edit
from mutants_specs import BATCH_NORM, BLOCK, CLUSTERS, CORES, GATED_LEVELS, NORMED_BLOCK

LAYERS = [
    edit(
        "levels exchange their coefficients",
        "layer:_contract",
        "*coefficients",
        "*reversed(coefficients)",
        GATED_LEVELS,
        "frameworks",
    ),
    edit(
        "cores are passed in reverse",
        "layer:_stack",
        "for name in layer.network.shapes]",
        "for name in reversed(layer.network.shapes)]",
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
        "else y), moved",
        "else y), state",
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
        "the second layer's levels exchange their coefficients",
        "layer:_stack",
        "cores, coefficients, hidden",
        "cores, coefficients[:: -1 if number else 1], hidden",
        BLOCK,
        "frameworks",
    ),
    edit(
        "the second layer has the first one's cores",
        "layer:_stack",
        'f"{prefix}.{name}"',
        'f"first.{name}"',
        BLOCK,
        "frameworks",
        ("numpy",),
    ),
    edit(
        "the layers change places",
        "layer:_stack",
        "spec.layers.items()",
        "reversed(spec.layers.items())",
        BLOCK,
        "frameworks",
    ),
    edit(
        "the activation comes before both layers",
        "layer:_stack",
        "if number:",
        "if spec.activation:",
        BLOCK,
        "frameworks",
    ),
    edit(
        "there is no activation", "layer:_stack", "if number:", "if not spec.activation:", BLOCK, "frameworks"
    ),
    edit("GELU is approximated", "pointwise:_gelu", "tl.gelu(x)", "_gelu_tanh(tl, x)", BLOCK, "frameworks"),
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
        "layer:_stack",
        "hidden = normalized *",
        "hidden = tokens *",
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm lacks its shift",
        "layer:_stack",
        ' + parameters["input_norm.bias"]',
        ' + 0 * parameters["input_norm.bias"]',
        NORMED_BLOCK,
        "frameworks",
    ),
    edit(
        "the input norm's scale is its shift",
        "layer:_stack",
        ' + parameters["input_norm.bias"]',
        ' + parameters["input_norm.weight"]',
        NORMED_BLOCK,
        "frameworks",
        ("numpy",),
    ),
]

MUTANTS = [*LAYERS, *BLOCKS]

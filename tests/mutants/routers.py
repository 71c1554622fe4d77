"""Faults in the gate's noise and order of steps, and in routers and their clusters."""

from mutants.harness import edit
from mutants.specs import (
    BIASED,
    CLUSTERS,
    COSINES,
    FEW_FEATURES,
    GATE_EACH,
    GATED_LEVELS,
    LEARNED_NOISE,
    NOISY,
)

NOISE = "gates/test_noise.py"
HEARD = "layers/test_fields.py::test_a_field_that_is_ignored_is_noticed"
ROUTERS = "gates/test_routers.py"
BATCHES = f"{ROUTERS}::test_running_statistics_are_averages_of_the_batches_before"
LEARNED = "gates/test_learned_routers.py"
EMPTY = f"{ROUTERS}::test_an_empty_batch_moves_nothing"
PLACE = f"{NOISE}::test_noise_comes_after_the_norm_and_before_the_temperature"
APART = f"{NOISE}::test_every_entry_of_every_level_has_noise_of_its_own"

_NOISE = """    logits = self._normalize(ops, routed, state, moved, call)
    if call.training and self.noise > 0:
        logits = logits + self.noise * ops.normal(logits, call.generator, call.level)
"""
_BEFORE = """    logits = routed
    if call.training and self.noise > 0:
        logits = logits + self.noise * ops.normal(logits, call.generator, call.level)
    logits = self._normalize(ops, logits, state, moved, call)
"""
_DRAW = "self.noise * ops.normal(logits, call.generator, call.level)"

OF_NOISE = [
    edit(
        "noise is added before the norm",
        "gates.gate:Gate.compute",
        _NOISE,
        _BEFORE,
        NOISY,
        f"{PLACE}[layer-numpy]",
        ("numpy",),
    ),
    edit(
        "noise is not divided by the temperature",
        "gates.gate:Gate.compute",
        _DRAW,
        f"self.temperature * {_DRAW}",
        NOISY,
        f"{PLACE}[None-numpy]",
        ("numpy",),
    ),
    edit(
        "noise has the variance for its deviation",
        "gates.gate:Gate.compute",
        _DRAW,
        f"self.noise * {_DRAW}",
        NOISY,
        f"{NOISE}::test_noise_is_normal_with_the_deviation_that_is_asked_for[numpy]",
        ("numpy",),
    ),
    edit(
        "noise only raises logits",
        "gates.gate:Gate.compute",
        _DRAW,
        f"abs({_DRAW})",
        NOISY,
        f"{NOISE}::test_noise_is_normal_with_the_deviation_that_is_asked_for[numpy]",
        ("numpy",),
    ),
    edit(
        "noise is the same for all tokens",
        "gates.gate:Gate.compute",
        _DRAW,
        f"{_DRAW}[:1]",
        NOISY,
        f"{APART}[numpy]",
        ("numpy",),
    ),
    edit(
        "NumPy: noise is uniform",
        "tensormoe_numpy._backend:NumPyBackend.normal",
        "generator.standard_normal(tuple(like.shape))",
        "generator.uniform(-3**0.5, 3**0.5, tuple(like.shape))",
        NOISY,
        f"{NOISE}::test_noise_is_normal_with_the_deviation_that_is_asked_for[numpy]",
        ("numpy",),
    ),
    edit(
        "PyTorch: a generator is ignored",
        "tensormoe_torch._backend:TorchBackend.normal",
        "generator=generator",
        "generator=None",
        NOISY,
        f"{NOISE}::test_calls_with_another_seed_draw_other_noise[torch]",
    ),
]

OF_ROUTERS = [
    edit(
        "the router's evaluation option is ignored",
        "gates.routers:AdaptiveClustering._statistics",
        "self.statistics if call.training else self.evaluation",
        "self.statistics",
        CLUSTERS,
        f"{HEARD}[AdaptiveClustering.evaluation]",
    ),
    edit(
        "the router's statistics option is ignored",
        "gates.routers:AdaptiveClustering._statistics",
        "self.statistics if call.training else self.evaluation",
        "self.evaluation",
        CLUSTERS,
        f"{HEARD}[AdaptiveClustering.statistics]",
    ),
    edit(
        "the momentum is ignored",
        "gates.routers:AdaptiveClustering._statistics",
        "1 - self.momentum *",
        "1 - 0.1 *",
        CLUSTERS,
        f"{HEARD}[AdaptiveClustering.momentum]",
    ),
    edit(
        "hard assignment is soft",
        "gates.routers:AdaptiveClustering.logits",
        'self.assignment == "hard"',
        "False",
        CLUSTERS,
        f"{ROUTERS}::test_a_layers_logits_are_those_of_weighted_inputs[hard]",
    ),
    edit(
        "the number of clusters is that of experts",
        "gates.routers:AdaptiveClustering.previous_experts",
        "experts if self.clusters is None else",
        "experts if True else",
        CLUSTERS,
        f"{HEARD}[AdaptiveClustering.clusters]",
    ),
    edit(
        "a cluster's mass does not fade",
        "gates.routers:AdaptiveClustering._statistics",
        "[kept * old + new for",
        "[(kept if old.ndim > 1 else 1) * old + new for",
        CLUSTERS,
        BATCHES,
    ),
    edit(
        "statistics of an empty batch fade",
        "gates.routers:AdaptiveClustering._statistics",
        "ops.where(tokens > 0, tokens * 0 + 1, tokens * 0)",
        "1",
        CLUSTERS,
        EMPTY,
    ),
    edit(
        "running statistics weigh their own batch",
        "gates.routers:AdaptiveClustering._statistics",
        "return batch if by_batch or running is None else running, following",
        "return batch, following",
        CLUSTERS,
        f"{ROUTERS}::test_running_statistics_let_no_token_see_another",
    ),
    edit(
        "every level has the first one's clusters",
        "gates.levels:compute_levels",
        "in level.statistics.items()",
        "in levels[0].statistics.items()",
        CLUSTERS,
        f"{ROUTERS}::test_a_layers_logits_are_those_of_weighted_inputs",
    ),
]

OF_CLUSTERS = [
    edit(
        f"clusters: the {option} is ignored",
        "gates.routers:AdaptiveClustering.feature_weights",
        f"self.{option}",
        default,
        CLUSTERS,
        f"{BATCHES}[std]" if option == "dispersion" else f"{HEARD}[AdaptiveClustering.{option}]",
    )
    for option, default in (
        ("preset", '"language"'),
        ("dispersion", '"mad"'),
        ("clamp", "None"),
        ("normalization", "None"),
        ("eps", "1e-4"),
        ("shrinkage", "2.0"),
    )
]

OF_LEVELS = [
    edit(
        "every level has the last one's logits",
        "gates.levels:compute_levels",
        "in level.parameters.items()",
        "in levels[-1].parameters.items()",
        GATED_LEVELS,
        "frameworks",
    ),
]

OF_PARAMETERS = [
    edit(
        "every level has the first one's gate",
        "gates.levels:compute_levels",
        "level.gate.compute(",
        "levels[0].gate.compute(",
        GATE_EACH,
        "float",
    ),
    edit(
        "a router's bias is not added",
        "gates.routers:LinearRouter.logits",
        "if self.bias else",
        "if False else",
        BIASED,
        "float",
    ),
    edit(
        "cosines grow with the weights",
        "gates.learned_routers:CosineRouter.logits",
        "_to_length_1(ops, weights, 0)",
        "weights",
        COSINES,
        "frameworks",
    ),
    edit(
        "a scale is not the power of its parameter",
        "gates.learned_routers:CosineRouter.logits",
        'ops.exp(parameters["scale"])',
        '(1 + parameters["scale"])',
        COSINES,
        "frameworks",
    ),
    edit(
        "a projection starts at zero",
        "gates.learned_routers:LowRankRouter.start",
        'if name == "projection"',
        "if False",
        FEW_FEATURES,
        f"{LEARNED}::test_routers_start_so_that_all_of_their_parameters_learn",
    ),
    edit(
        "a router's noise has one size for all experts",
        "gates.learned_routers:NoisyRouter.logits",
        'ops.matmul(x, parameters["noise"])',
        'ops.matmul(x, parameters["noise"])[..., :1]',
        LEARNED_NOISE,
        "frameworks",
    ),
    edit(
        "a router's noise is added in evaluation",
        "gates.learned_routers:NoisyRouter.logits",
        "call.training and",
        "",
        LEARNED_NOISE,
        "frameworks",
    ),
    edit(
        "the output bias is not added",
        "layers.functional:run_mixture",
        "if spec.output_bias:",
        "if False:",
        BIASED,
        "frameworks",
    ),
]

MUTANTS = [*OF_NOISE, *OF_ROUTERS, *OF_CLUSTERS, *OF_LEVELS, *OF_PARAMETERS]

"""Every option of every function that looks at experts, or edits them, changes something.

The list comes from the functions' signatures, as in `test_every_option.py`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from support.option_calls import assert_named_tests_are_there, calls_of, change, options_of

import tensormoe as tm
from tensormoe import analysis

SPEC = tm.MuMoESpec(4, 3, (5, 2), tm.CP(3), tm.Gate("softmax", router=tm.AdaptiveClustering()))
LAYER, BLOCK = saved(SPEC.replace(gate=tm.Gate("softmax"))), saved(tm.MuMoEBlockSpec(4, 4, 3, 5, tm.CP(3)))
draws = np.random.default_rng(0)
X, LABELS = draws.normal(size=(60, 4)), np.arange(60) % 3
PREVIOUS = [draws.dirichlet(np.full(n, 0.2), 60) for n in SPEC.experts]
OTHERS = {name: core + 1 for name, core in tm.cores_of(SPEC, LAYER.parameters).items()}
CLUSTERED = saved(
    SPEC.replace(
        gate=tm.Gate("softmax", router=tm.AdaptiveClustering(statistics="batch", evaluation="batch"))
    )
)
A = draws.dirichlet(np.full(5, 0.3), 60)
IMAGES, TABLE = draws.random((60, 3, 3)), draws.random((4, 5)) / 5
NAMES = ["p", "q", "r", "s"]
ABLATION = "analysis/test_ablation_models.py::{}"
MODELS = "analysis/test_recording_models.py::{}"
TORCH = "backends/torch/test_torch_recording.py::{}"

ablate, accuracies = (
    partial(analysis.ablate, LAYER, X),
    partial(analysis.accuracy_by_ablation, LAYER, X, LABELS),
)
cores = tm.cores_of(SPEC, LAYER.parameters)
usage = partial(analysis.draw_usage, A.mean(axis=0), analysis.usage(A))
head = partial(analysis.adversarial_head, X, LABELS, LABELS % 2, steps=20)


def measure(function: Callable[..., object]) -> dict[str, tuple[Callable[..., object], Any]]:
    run = partial(function, SPEC, cores=cores)
    return {"cores": (run, OTHERS), "bias": (run, False)}


def model() -> analysis.Recording:
    with analysis.recording() as recording:
        recording.add("one", [A])
    return recording


OPTIONS: dict[str, dict[str, str | tuple[Callable[..., object], Any]]] = {
    "ablate": {
        "experts": (ablate, (1, 0)),
        "level": (ablate, 0),
        "layers": (partial(analysis.ablate, BLOCK, X), "first"),
        "mode": (ablate, "renormalize"),
        "router_input": (partial(analysis.ablate, LAYER, X), X[::-1]),
        "coefficients": (partial(analysis.ablate, LAYER, X), PREVIOUS),
        "previous": (partial(analysis.ablate, CLUSTERED, X), PREVIOUS),
    },
    "accuracy_by_ablation": {
        "experts": (accuracies, (1, 0)),
        "level": (accuracies, 0),
        "layers": (partial(analysis.accuracy_by_ablation, BLOCK, X, LABELS), "first"),
        "mode": (partial(analysis.accuracy_by_ablation, BLOCK, X, LABELS), "renormalize"),
        "router_input": (partial(analysis.accuracy_by_ablation, LAYER, X, LABELS), X[::-1]),
        "coefficients": (partial(analysis.accuracy_by_ablation, LAYER, X, LABELS), PREVIOUS),
        "previous": (partial(analysis.accuracy_by_ablation, CLUSTERED, X, LABELS), PREVIOUS),
    },
    "ablate_model": {
        "labels": ABLATION.format("test_changes_are_those_of_a_model_that_was_edited_for_each_expert"),
        "measure": ABLATION.format("test_a_measure_of_ones_own_takes_the_place_of_accuracy"),
        "layers": ABLATION.format("test_a_measure_of_ones_own_takes_the_place_of_accuracy"),
        "level": ABLATION.format("test_of_a_head_it_is_the_accuracy_by_ablation_and_one_evaluation"),
        "mode": ABLATION.format("test_of_a_head_it_is_the_accuracy_by_ablation_and_one_evaluation"),
        "call": ABLATION.format("test_of_a_head_it_is_the_accuracy_by_ablation_and_one_evaluation"),
        "progress": ABLATION.format("test_experts_that_no_input_uses_cost_nothing_and_a_bar_is_shown"),
    },
    "adversarial_head": {"strength": (head, 5.0), "steps": (head, 3), "rate": (head, 0.5)},
    "class_means": {"classes": (partial(analysis.class_means, A, LABELS), 4)},
    "cosines": measure(analysis.cosines),
    "dead": {"threshold": (partial(analysis.dead, A), 0.9)},
    "draw_ablations": {
        "labels": (partial(analysis.draw_ablations, TABLE.T), NAMES),
        "title": (partial(analysis.draw_ablations, TABLE.T), "T"),
    },
    "draw_class_means": {
        "labels": (partial(analysis.draw_class_means, TABLE), NAMES),
        "title": (partial(analysis.draw_class_means, TABLE), "T"),
    },
    "draw_hierarchy": {
        "level": (partial(analysis.draw_hierarchy, TABLE), 1),
        "title": (partial(analysis.draw_hierarchy, TABLE), "T"),
    },
    "draw_images": {
        "experts": (partial(analysis.draw_images, IMAGES, A), [3]),
        "k": (partial(analysis.draw_images, IMAGES, A), 2),
        "title": (partial(analysis.draw_images, IMAGES, A), "T"),
    },
    "draw_model": {"title": (lambda **options: analysis.draw_model(model(), **options), "T")},
    "draw_polysemanticity": {
        "confidence": (partial(analysis.draw_polysemanticity, [2, 4], TABLE[:2]), 0.5),
        "title": (partial(analysis.draw_polysemanticity, [2, 4], TABLE[:2]), "T"),
    },
    "draw_similarity": {"title": (partial(analysis.draw_similarity, np.eye(3)), "T")},
    "draw_spectra": {
        "experts": (partial(analysis.draw_spectra, TABLE), [3, 4, 5, 6]),
        "title": (partial(analysis.draw_spectra, TABLE), "T"),
    },
    "draw_usage": {"threshold": (usage, 0.25), "title": (usage, "T")},
    "equality_of_opportunity": {
        "positive": (partial(analysis.equality_of_opportunity, [0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]), 0)
    },
    "gram": measure(analysis.gram),
    "load_balance_loss": {"k": (partial(analysis.load_balance_loss, A), 2)},
    "norms": measure(analysis.norms),
    "oversample": {"seed": (partial(analysis.oversample, [0, 0, 0, 1]), 5)},
    "record": {
        "labels": MODELS.format("test_a_recording_of_a_model_equals_all_coefficients_at_once"),
        "progress": TORCH.format("test_a_data_loader_gives_lists"),
        "mask": TORCH.format("test_mappings_are_batches_with_labels_masks_and_ids"),
        "columns": TORCH.format("test_mappings_are_batches_with_labels_masks_and_ids"),
        "store": TORCH.format("test_mappings_are_batches_with_labels_masks_and_ids"),
        "call": TORCH.format("test_gradients_flow_and_none_is_kept"),
        "threshold": MODELS.format("test_a_recording_of_a_model_equals_all_coefficients_at_once"),
    },
    "recording": {
        "model": MODELS.format("test_a_context_records_a_loop_of_ones_own_in_the_mode_that_the_model_has"),
        "threshold": "analysis/test_recording.py::test_a_recording_equals_all_coefficients_at_once",
        "store": "analysis/test_store.py::test_a_store_gives_back_every_token_in_order_and_bit_for_bit",
    },
    "shade_text": {
        "experts": (partial(analysis.shade_text, list("abcdefghij" * 6), A), [3]),
        "k": (partial(analysis.shade_text, list("abcdefghij" * 6), A), 1),
        "context": (partial(analysis.shade_text, list("abcdefghij" * 6), A), 1),
        "title": (partial(analysis.shade_text, list("abcdefghij" * 6), A), "T"),
    },
    "spectrum": {
        "cores": (partial(analysis.spectrum, SPEC, (0, 0), cores=cores), OTHERS),
        "bias": (partial(analysis.spectrum, SPEC, (0, 0), cores=cores), False),
    },
    "usage": {"threshold": (partial(analysis.usage, A), 0.1)},
}

CALLS = calls_of(OPTIONS)


def show(call: Callable[[], object]) -> str:
    """What a call gives, as text: of a figure, what is written, drawn and coloured in it."""
    result: Any = call()
    if hasattr(result, "findobj"):
        texts = [each.get_text() for each in result.findobj(Text)]
        lines = [each.get_xydata().tolist() for each in result.findobj(Line2D)]
        bars = [
            path.vertices.tolist() for each in result.findobj(LineCollection) for path in each.get_paths()
        ]
        result = texts, lines, bars, [each.get_array().tolist() for each in result.findobj(AxesImage)]
    with np.printoptions(threshold=10**6, precision=12):
        return str(getattr(result, "html", result))


def test_every_option_of_every_function_is_here() -> None:
    expected = {}
    for module in (analysis, tm.editing):
        functions = {name: getattr(module, name) for name in module.__all__}
        for name, function in functions.items():
            if inspect.isfunction(inspect.unwrap(function)):
                expected[name] = options_of(function)
    assert {name: set(options) for name, options in OPTIONS.items()} == {
        name: options for name, options in expected.items() if options
    }


@pytest.mark.parametrize("name", CALLS)
def test_an_option_that_is_ignored_is_noticed(name: str) -> None:
    call, changed = change(name, CALLS[name])
    assert show(call) != show(changed)


def test_the_tests_that_are_named_are_there() -> None:
    assert_named_tests_are_there(OPTIONS)

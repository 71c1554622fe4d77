"""The experiment on language: its measures and verdicts; tests/integrations has a GPT-2."""

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm
from benchmarks.experiments.results import Line, Results

torch = optional("torch")

from benchmarks.experiments import language, language_data, presets  # noqa: E402
from benchmarks.experiments.language_experts import count_tokens  # noqa: E402


def test_an_expert_is_for_as_many_tokens_as_share_its_coefficients() -> None:
    tokens = np.array([7, 7, 9, 9, 3, 3, 3])
    a = np.array([[1, 0.0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    assert count_tokens(a, tokens) == pytest.approx([2, 1])
    # Three of four parts are for one token.
    shares = np.array([[0.75], [0.0], [0.25], [0], [0], [0], [0]])
    assert count_tokens(shares, tokens) == pytest.approx([4 / 3**0.75])


def line(mlp: str, experts: int, seed: int, loss: float, share: float) -> Line:
    own = {"share of chance": share, "tokens": 3.0, "tokens by chance": 6.0, "effective experts": 2.0}
    best = {"layer": "h", "expert": 1, "tokens": [["a", 0.5]], "snippets": ["an «a»"]}
    measures = {
        "loss": loss,
        "rate": 0.01,
        "parameters": 5,
        "curve": [[1, loss]],
        "specialized": [best],
        **own,
    }
    cell = {"mlp": mlp, "experts": experts}
    return {"cell": cell, "seed": seed, "measures": measures, "timings": {"step": 0.1}}  # type: ignore


@pytest.mark.parametrize(
    ("more", "share", "verdicts"),
    [
        (0.01, 0.2, ["holds", "holds", "not testable here"]),
        (0.30, 0.9, ["does not hold at this size"] * 2 + ["not testable here"]),
    ],
)
def test_losses_are_judged_against_the_dense_model_and_experts_against_chance(
    more: float, share: float, verdicts: list[str]
) -> None:
    small = presets.read(language.EXPERIMENT)
    dense = [line("dense", 0, seed, 4.0 + seed, 1.0) for seed in range(3)]
    ring = [line("ring", 64, seed, 4.0 + seed + more + 1e-3 * seed, share + 1e-3 * seed) for seed in range(3)]
    said = language.EXPERIMENT.report(small, Results((*dense, *ring)))
    assert [each.verdict for each in said.findings] == verdicts
    assert "ring, h, expert 1: «a» 50 %\n    an «a»" in said.text


def test_full_presets_have_both_published_numbers_of_tokens() -> None:
    full, other = (presets.read(language.EXPERIMENT, name) for name in ("full", "full-983040"))
    assert [each.batch * each.context for each in (full, other)] == [491_520, 983_040]
    assert len(language.cells(full)) == 5


def test_a_package_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"pip install 'tensormoe\[experiments\]'"):
        language_data.need("no_such_package")

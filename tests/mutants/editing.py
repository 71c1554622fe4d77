"""Faults in edits, in what their certificates look at, and in ablations of whole models."""

from mutants.harness import edit
from mutants.specs import CORES, SPLIT, STEERED

SPLITS = "editing/test_split.py"
MODELS = "analysis/test_ablation_models.py"
BESIDE = "editing/test_edits.py::test_biases_beside_a_split_input_stay_or_are_written"

MUTANTS = [
    edit(
        "the copies of an expert get the square of its coefficient",
        "gates.steering:_share",
        "expert + 1] * shares",
        "expert + 1] * shares * a[..., expert : expert + 1]",
        SPLIT,
        "frameworks",
    ),
    edit(
        "the first copy of an expert has no logit of zero",
        "gates.steering:_share",
        "ops.zeros_like(logits[..., :1])",
        "logits[..., :1]",
        SPLIT,
        "frameworks",
    ),
    edit(
        "a coefficient that is set is added to",
        "gates.steering:_steer",
        "a * (1 - chosen)",
        "a",
        STEERED,
        "frameworks",
    ),
    edit(
        "the copies of an expert have the weight of another",
        "editing.draft:Draft.split",
        "[step.expert], axis",
        "[0], axis",
        CORES,
        f"{SPLITS}::test_outputs_stay_and_copies_share_the_coefficient",
    ),
    edit(
        "where experts are split, the router may be any",
        "editing.certify:_take_columns",
        "[own, read_values(name, theirs[name])[:, own.shape[1] :]]",
        "[read_values(name, theirs[name])]",
        CORES,
        f"{SPLITS}::test_a_split_that_leaks_is_refused",
    ),
    edit(
        "the copies of a steered expert pass for others",
        "editing.steer:mark_steered",
        "step.added] = rows[step.expert]",
        "step.added] = False",
        CORES,
        f"{SPLITS}::test_other_splits_than_the_first_layers_are_refused",
    ),
    edit(
        "a bias beside factors without a row for it is left out",
        "editing.pieces:Piece.part_bias",
        "right=bias)",
        "right=0 * bias)",
        CORES,
        "editing/test_edits.py::test_biases_are_a_term_of_their_own_where_factors_have_no_row_for_them",
    ),
    edit(
        "what is added is written to the biases that a network has by itself",
        "editing.making:_name",
        "[len(written) - 1]",
        "[-1]",
        CORES,
        BESIDE,
    ),
    edit(
        "a further bias takes the place of those that a network has by itself",
        "editing.making:_grow",
        "_separated(stage) if is_bias and stage.experts else ()",
        "()",
        CORES,
        BESIDE,
    ),
    edit(
        "biases that are written as terms start anew",
        "editing.making:_move_biases",
        "cores[old.name]",
        "0 * cores[old.name]",
        CORES,
        BESIDE,
    ),
    edit(
        "a layer that runs again keeps its expert's first output",
        "analysis.ablation_model:_Batch._run_on",
        "count == 1",
        "count >= 1",
        CORES,
        f"{MODELS}::test_a_layer_that_runs_twice_loses_its_expert_in_both_calls",
    ),
    edit(
        "an expert counts as unused where any input does without it",
        "analysis.ablation_run:find_used",
        ".any(axis=0)",
        ".all(axis=0)",
        CORES,
        f"{MODELS}::test_a_layer_that_runs_twice_loses_its_expert_in_both_calls",
    ),
]

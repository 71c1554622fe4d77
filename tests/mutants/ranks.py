"""Faults in ranks: new values, cuts, gauges, what is redundant or cannot matter; in what errors suggest."""

from mutants.harness import edit
from mutants.specs import CP, CP_LEVELS, TRAIN

LOWER = "ranks/test_grow_and_truncate.py"
SAME = "ranks/test_canonicalize_and_simplify.py"
MATCHING = "layers/test_matching.py"
HABITS = "networks/test_habits.py"

MUTANTS = [
    edit(
        "the first new value of a bond contributes",
        "ranks.grow:_grow",
        "slice(before.sizes[bond], None)",
        "slice(before.sizes[bond] + 1, None)",
        CP,
        f"{LOWER}::test_new_values_add_nothing_to_the_weight",
    ),
    edit(
        "new values are zero on both sides where a core starts as an identity",
        "layers.core_recipe:CoreRecipe.fill",
        "self.diagonal is None",
        "True",
        TRAIN,
        f"{LOWER}::test_what_is_drawn_is_of_the_size_of_initial_values",
    ),
    edit(
        "unused values of a bond that was cut are zero on both sides",
        "ranks.lower:balance",
        "np.where(used[..., None, :], x, spare)",
        "x",
        TRAIN,
        f"{LOWER}::test_unused_values_are_cut_without_error_and_one_side_of_them_is_kept",
    ),
    edit(
        "a cut is called the best where both parts have experts and not both cores",
        "ranks.lower:find_cut",
        "if not {*batch} <= {*ends[0].indices} & {*ends[1].indices}:",
        "if False:",
        TRAIN,
        f"{LOWER}::test_other_bonds_keep_what_is_missed_least_and_say_so",
    ),
    edit(
        "a term that experts share is compared once, not for each of them",
        "ranks.distance:_inner",
        "* _repeats(term, each)",
        "* 1",
        CP,
        f"{LOWER}::test_large_weights_are_compared_by_inner_products",
    ),
    edit(
        "what a core can't use is zero on both sides in canonical form",
        "ranks.canonicalize:orthogonalize",
        "if rows < columns:",
        "if rows < 0:",
        TRAIN,
        f"{SAME}::test_values_that_a_core_cannot_use_are_of_norm_one_and_not_read",
    ),
    edit(
        "a train that could be a train becomes another network",
        "ranks.sketch:Sketch.grows",
        "{bond: 2}",
        "{bond: 1}",
        TRAIN,
        f"{SAME}::test_what_is_redundant_is_left_out",
    ),
    edit(
        "a bond grows to the entries of its largest core",
        "layers.limits:rank_limit",
        "// max(entries)",
        "// min(entries)",
        TRAIN,
        f"{MATCHING}::test_the_limit_of_a_bond_of_two_cores_is_the_largest_rank_of_their_product",
    ),
    edit(
        "matching ends where the first bond has its limit",
        "layers.matching:Growth.is_full",
        "return all(",
        "return any(",
        CP,
        f"{MATCHING}::test_what_one_layer_cannot_use_another_gets",
    ),
    edit(
        "limits don't keep to multiples",
        "layers.limits:limit_sizes",
        "limit - limit % unit or limit",
        "limit",
        TRAIN,
        f"{MATCHING}::test_limits_keep_to_multiples_where_there_are_any",
    ),
    edit(
        "a suggestion takes a bond that is called like a mode for the mode",
        "networks.habits:_name_outputs",
        "sorted(others & {*names.values()})",
        "sorted(others & {*names})",
        CP,
        f"{HABITS}::test_the_line_that_is_meant_is_in_the_error",
    ),
    edit(
        "two levels are not told in a block's plan",
        "programs.block_plan:_title",
        "len(counts) < 2",
        "len(counts) < 3",
        CP_LEVELS,
        f"{HABITS}::test_a_block_says_that_two_counts_are_two_levels",
    ),
]

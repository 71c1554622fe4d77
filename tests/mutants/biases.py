"""Faults of terms without the input mode, which are biases: in programs, weights, initial values and fits."""

from functools import partial

from mutants.harness import edit
from mutants.specs import SUM

import tensormoe as tm

_OWN = tm.TensorNetwork("n i r, n r o + n o", r=3)
# Biases of their own beside a network without any, and beside one that has a row for them.
BARE = partial(tm.MuMoESpec, 3, 2, 3, _OWN, bias=False)
BOTH = partial(tm.MuMoESpec, 3, 2, 3, _OWN)
_TESTS = "networks/test_bias_terms.py"

MUTANTS = [
    edit(
        "a bias is multiplied with x",
        "programs.contraction:Contraction._is_bias",
        "return all(",
        "return False and all(",
        BARE,
        f"{_TESTS}::test_a_bias_takes_no_products_with_x",
    ),
    edit(
        "a bias is the same in all rows of the weight",
        "programs.sums:_Merger._place",
        "not bias or (",
        "True or (",
        BOTH,
        "proof",
    ),
    edit(
        "a bias is in the first row of the weight",
        "programs.sums:_Merger._place",
        "rows + further - 1, 0",
        "0, rows + further - 1",
        BARE,
        "proof",
    ),
    edit(
        "the row of zeros comes before the inputs",
        "programs.sums:_Merger._place",
        "axis, 0, 1)",
        "axis, 1, 0)",
        BARE,
        "proof",
    ),
    edit(
        "reverse mode takes a padded array's first rows",
        "programs.instructions:Pad.vjp",
        "self.before, gradient.shape[self.axis] - self.after",
        "0, gradient.shape[self.axis] - self.after - self.before",
        BOTH,
        f"{_TESTS}::test_outputs_and_weights_are_proved_and_exact",
    ),
    edit(
        "the weight has no row for terms that are biases",
        "networks.network:Network.weight_rows",
        "self.input_size + self.has_bias - self.bias",
        "self.input_size",
        BARE,
        "exact",
    ),
    edit(
        "biases share the variance of the other terms",
        "layers.initialization:_derive",
        "counts[order.is_bias]",
        "(100 * len(names))",
        SUM,
        "layers/test_sums.py::test_a_sum_starts_at_the_scale_of_a_linear_layer",
    ),
    edit(
        "a bias is fitted to the first row",
        "fitting.one_expert:fit_matrix",
        "matrix[-1:]",
        "matrix[:1]",
        BARE,
        f"{_TESTS}::test_a_dense_layer_with_its_bias_is_upcycled",
    ),
    edit(
        "measures take a bias for the weight of every input",
        "layers.rows:with_rows",
        "rows - 1)[0]",
        "0)[0]",
        BARE,
        f"{_TESTS}::test_measures_of_experts_are_those_of_the_weight",
    ),
    edit(
        "the definition has a bias in its first row",
        "verification.reference.contraction:complete_terms",
        "network.weight_rows - 1",
        "0",
        BARE,
        "exact",
    ),
]

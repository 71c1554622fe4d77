"""Faults in cores that are used more than once, between the notation and the proof."""

from mutants.harness import edit
from mutants.specs import CROSSED, TIED, TIED_SUM

NOTATION = "networks/test_shared.py"
START = "layers/test_shared.py"
PROOF = "verification/test_shared.py"

MUTANTS = [
    edit(
        "a shared core's second use reads the array before it",
        "programs.contraction:Contraction.positions",
        "places[operand.name] for operand",
        "places[operand.name] - (operand.name in ('A', 'B')) for operand",
        TIED_SUM,
        "proof",
    ),
    edit(
        "what a program takes comes in another order than the cores",
        "programs.contraction:Contraction._names",
        "dict.fromkeys(operand.name for operand in self.operands)",
        "dict.fromkeys(o.name for o in (*self.data, *self.cores[::-1]))",
        TIED,
        "exact",
    ),
    edit(
        "a shared core's gradient is that of its last use",
        "programs.program:Program.backward",
        "share if known is None else known + share",
        "share if known is None or register < self.num_operands else known + share",
        TIED,
        "exact",
    ),
    edit(
        "terms share a core's name and not the core",
        "networks.network:Network.unshare",
        "if not self.shared:",
        "if len(self.shared) < 2:",
        TIED,
        f"{NOTATION}::test_a_shared_core_is_one_core",
    ),
    edit(
        "names are lost where a network has several levels",
        "networks.notation:Notation.at_levels",
        "(own, tuple(",
        "('', tuple(",
        TIED,
        f"{NOTATION}::test_names_stay_with_levels_and_in_sums",
    ),
    edit(
        "uses of different shapes are one core",
        "networks.network:check_shapes",
        "shapes[0] != shapes[1]",
        "len(shapes[0]) != len(shapes[1])",
        TIED,
        f"{NOTATION}::test_uses_of_different_shapes_are_refused_with_both",
    ),
    edit(
        "bonds that a shared core ties grow alone",
        "networks.notation:Notation.find_tied",
        "if axis & tied",
        "if axis < tied",
        TIED,
        f"{NOTATION}::test_bonds_that_a_shared_core_ties_grow_together",
    ),
    edit(
        "the prover reads every use of a core as the first",
        "verification.proof.sharing:_Template.fill",
        "read.position] = use",
        "read.position] = min(chosen)",
        TIED,
        "proof",
    ),
    edit(
        "the prover does not count a core's readers",
        "verification.proof.sharing:_Template.__init__",
        "copies[array] != len(uses[array])",
        "copies[array] > len(uses[array])",
        TIED,
        f"{PROOF}::test_a_use_too_many_or_too_few_is_named",
    ),
    edit(
        "the prover reads what was released",
        "verification.proof.sharing:check_reads",
        "gone |= {*finished}",
        "gone |= {*finished[1:]}",
        TIED,
        f"{PROOF}::test_what_was_released_is_not_read_again",
    ),
    edit(
        "the prover gives up after the first assignment",
        "verification.proof.sharing:_Template.following",
        "if later:",
        "if False:",
        CROSSED,
        "proof",
    ),
    edit(
        "the reference counts one use of a shared core",
        "verification.reference.contraction:Reference._add_uses",
        "known.value + own.value",
        "own.value",
        TIED,
        "exact",
    ),
    edit(
        "a shared core has the variance of its first use",
        "layers.shared_start:_join",
        "prod(map(power, uses)) ** (1 / len(uses))",
        "power(first)",
        TIED,
        f"{START}::test_a_shared_core_has_the_mean_variance_of_its_uses",
    ),
    edit(
        "a term does not make up for what its shared core lacks",
        "layers.shared_start:_balance",
        "excess**-0.5",
        "excess**0.5",
        TIED,
        f"{START}::test_a_shared_core_starts_at_the_scale_of_a_linear_layer",
    ),
    edit(
        "an edit of an expert changes a row of a shared core",
        "editing.draft:Draft._find_carrier",
        " and core.name not in held",
        "",
        TIED,
        "editing/test_shared.py",
    ),
    edit(
        "a fit's metric is absorbed twice by a shared core",
        "fitting.descent:Descent._absorbed",
        "len(each) == 1 and each[0].name not in held",
        "len(each) == 1",
        TIED,
        f"{START}::test_a_shared_core_is_fitted_to_experts",
    ),
]

"""Faults in programs: how two become one, what is kept for reverse mode, and how cores are stored."""

from functools import partial

from mutants.harness import edit
from mutants.specs import BLOCK, CHAIN, CP

# What no level looks at, these do.

CHAINED = [
    edit(
        "the second layer's levels exchange their coefficients",
        "programs.program:chain",
        "*range(1, owned)",
        "*(range(shared, 0, -1) if x else range(1, owned))",
        BLOCK,
        "proof",
    ),
    edit(
        "the second layer has the first one's cores",
        "programs.program:chain",
        "count + len(instructions) - 1, start)",
        "count + len(instructions) - 1, owned)",
        BLOCK,
        "proof",
    ),
    edit(
        "there is no activation",
        "programs.program:chain",
        "append(last, count + len(instructions) - 1",
        "append(last, count + len(instructions) - 2",
        BLOCK,
        "proof",
    ),
    edit(
        "the activation is the input's",
        "programs.program:chain",
        "Pointwise(first, function)",
        "Pointwise(0, function)",
        BLOCK,
        "proof",
    ),
    edit(
        "a block releases the registers of its layers alone",
        "programs.program:chain",
        "released(count, instructions)",
        "(*before[0].releases, (), *last.releases)",
        BLOCK,
        "proof",
    ),
    edit(
        "the register after is released",
        "programs.program:released",
        "tuple(s for s",
        "tuple(s + 1 for s",
        CHAIN,
        "proof",
    ),
    edit(
        "a register is released at its first use",
        "programs.program:released",
        "in enumerate(instructions) for source",
        "in reversed([*enumerate(instructions)]) for source",
        CHAIN,
        "programs/test_program.py::test_registers_may_be_read_again",
    ),
]

REVERSE = [
    edit(
        "gradients flow to first sources alone",
        "programs.program:Program._find_dependents",
        "instruction.sources)",
        "instruction.sources[:1])",
        CP,
        "programs/test_program.py::test_only_wanted_gradients_are_returned[plain-1-Tucker]",
    ),
    edit(
        "a register that is read twice keeps one share",
        "programs.program:Program.backward",
        "share if known is None else known + share",
        "share",
        BLOCK,
        "proof",
    ),
    edit(
        "a second share is added twice",
        "programs.program:Program.backward",
        "known + share",
        "known + share + share",
        BLOCK,
        "proof",
    ),
    edit(
        "gradients that are not wanted are computed",
        "programs.program:Program.backward",
        "frozenset(wanted)",
        "range(self.num_operands)",
        CP,
        "programs/test_program.py::test_only_wanted_gradients_are_returned[plain-1-shared]",
    ),
    edit(
        "recomputation keeps all that reverse mode reads",
        "programs.program:Program.forward",
        "self._costly if recompute else self._read",
        "self._read",
        BLOCK,
        "programs/test_program.py::test_recomputation_keeps_products_alone[plain-2-CP]",
    ),
    edit(
        "reverse mode computes again without being told to",
        "programs.program:Program.forward",
        "self._costly if recompute else self._read",
        "self._costly",
        BLOCK,
        "programs/test_program.py::test_recomputation_keeps_products_alone[plain-1-CP]",
    ),
    edit(
        "matrix products are computed again",
        "programs.program:Program._costly",
        " and self.instructions[number].cheap",
        "",
        BLOCK,
        "programs/test_program.py::test_recomputation_keeps_products_alone[plain-1-dense]",
    ),
    edit(
        "products that are only reshaped are computed again",
        "programs.program:Program._costly",
        "set(self.instructions[number].sources)",
        "set(self.instructions[number].reads)",
        BLOCK,
        "programs/test_program.py::test_recomputation_keeps_products_alone[plain-1-shared]",
    ),
    edit(
        "what was not kept is not computed again",
        "programs.program:Program.backward",
        "in instruction.reads:",
        "in instruction.reads[:1]:",
        BLOCK,
        "programs/test_program.py::test_recomputation_keeps_products_alone[plain-1-shared]",
    ),
]

NONLINEARITIES = [
    edit(
        "an activation overwrites what is read later",
        "programs.memory:find_overwrites",
        " and readers[each.source] == 1",
        "",
        BLOCK,
        "programs/test_program.py::test_an_activation_overwrites_a_product_alone[program2-False-silu]",
    ),
    edit(
        "an activation overwrites what reverse mode reads",
        "programs.program:Program.forward",
        "instruction.run(",
        "instruction.overwrite(",
        BLOCK,
        "backends/torch/test_torch_programs.py::test_functional_transforms_and_forward_mode[Tucker]",
    ),
    edit(
        "a gradient overwrites the caller's cotangent",
        "programs.program:Program.backward",
        "ops.copy(gradient)",
        "gradient",
        BLOCK,
        "programs/test_program.py::test_an_activation_overwrites_a_product_alone[program0-True-silu]",
    ),
    edit(
        "every activation is GELU by tanh",
        "arrays.backend:Backend.nonlinearity",
        "self.nonlinearities.get(name)",
        "NONLINEARITIES['gelu_tanh']",
        BLOCK,
        "frameworks",
    ),
    edit(
        "the slope within GELU's tanh lacks its factor",
        "arrays.nonlinearities:_gelu_tanh_vjp",
        "1 + 3 * 0.044715",
        "1 + 0.044715",
        partial(BLOCK, nonlinearity="gelu_tanh"),
        "programs/test_program.py::test_an_activation_overwrites_a_product_alone[program6-False-gelu_tanh]",
    ),
    edit(
        "ReLU's gradient passes where its value does not",
        "arrays.nonlinearities:_relu_vjp",
        "x > 0, gradient, ops.zeros_like(x)",
        "x > 0, ops.zeros_like(x), gradient",
        partial(BLOCK, nonlinearity="relu"),
        "programs/test_program.py::test_an_activation_overwrites_a_product_alone[program0-True-relu]",
    ),
    edit(
        "SiLU's derivative is its sigmoid",
        "arrays.nonlinearities:_silu_vjp",
        "gradient * (sigmoid * (1 + x * (1 - sigmoid)))",
        "gradient * sigmoid",
        partial(BLOCK, nonlinearity="silu"),
        "programs/test_program.py::test_an_activation_overwrites_a_product_alone[program4-False-silu]",
    ),
]

MUTANTS = [*CHAINED, *REVERSE, *NONLINEARITIES]

"""Faults in PyTorch's module classes and in how its programs are differentiated."""

import pytest
from mutants.harness import Mutant, edit
from mutants.specs import BATCH_NORM, BLOCK, CP, NOISY

TORCH = "tensormoe_torch"
MODES = "backends/torch/test_torch_modes.py"
GROUPS = "backends/torch/test_torch_groups.py"
CHECKPOINTS = "backends/torch/test_torch_checkpoints.py"
BLOCKS = "layers/test_blocks.py"
MODULES = "layers/test_modules.py"


def _silu_for_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tensormoe_torch._nonlinearities import NONLINEARITIES, _native, _relu_backward

    silu = NONLINEARITIES["silu"].vjp
    mixed = _native(torch.relu, torch.relu_, _relu_backward, silu)
    monkeypatch.setitem(NONLINEARITIES, "relu", mixed)


def _without_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensormoe.gates.newton import SoftTopK

    monkeypatch.setattr(SoftTopK, "__eq__", lambda self, other: self.k == other.k)
    monkeypatch.setattr(SoftTopK, "__hash__", lambda self: hash(self.k))


MODULE = [
    edit(
        "PyTorch: running statistics are written in evaluation",
        f"{TORCH}._gate:GateModule.forward",
        "if self.training and not",
        "if not",
        BATCH_NORM,
        f"{MODES}::test_running_statistics_stay_in_evaluation_and_so_does_what_autograd_has_saved",
    ),
    edit(
        "PyTorch: the gate always trains",
        f"{TORCH}._gate:GateModule.forward",
        "x, statistics, self.training, previous",
        "x, statistics, True, previous",
        BATCH_NORM,
        f"{MODES}::test_evaluation_uses_the_running_statistics",
    ),
    edit(
        "PyTorch: the gate never trains",
        f"{TORCH}._gate:GateModule.forward",
        "x, statistics, self.training, previous",
        "x, statistics, False, previous",
        NOISY,
        f"{MODES}::test_noise_is_off_in_evaluation",
    ),
    edit(
        "PyTorch: a generator is not handed on",
        f"{TORCH}._base:Module.forward",
        "previous, generator, all_reduce, given)",
        "previous, None, all_reduce, given)",
        NOISY,
        f"{MODULES}::test_noise_follows_the_generator_of_the_call[torch]",
    ),
    edit(
        "PyTorch: the layer before is not handed on",
        f"{TORCH}._base:Module.forward",
        "statistics, previous, generator",
        "statistics, None, generator",
        NOISY,
        f"{MODULES}::test_the_layer_before_is_heard[torch]",
    ),
    edit(
        "PyTorch: a sum over processes is not handed on",
        f"{TORCH}._gate:GateModule.forward",
        "reduce, pool = all_reduce, all_reduce",
        "reduce, pool = None, None",
        NOISY,
        f"{MODULES}::test_a_sum_over_processes_is_used[torch]",
    ),
    edit(
        "PyTorch: a group gives its tensors in reverse",
        f"{TORCH}._containers:TensorGroup.forward",
        "in self._names.items()}",
        "in reversed(self._names.items())}",
        CP,
        f"{GROUPS}::test_the_functional_interface_takes_groups",
    ),
    edit(
        "PyTorch: statistics have the parameters' type",
        f"{TORCH}._base:Module.__init__",
        "wide = torch.float64 if kind == torch.float64 else torch.float32",
        "wide = kind",
        BATCH_NORM,
        "layers/test_loading.py::test_a_module_keeps_its_types[torch]",
    ),
    edit(
        "PyTorch: recomputation is forgotten",
        f"{TORCH}._base:Module.__init__",
        'true_or_false("recompute", recompute)',
        "False",
        BLOCK,
        f"{MODULES}::test_recomputation_keeps_less_for_the_backward_pass",
    ),
    edit(
        "PyTorch: a specification's recomputation is forgotten",
        f"{TORCH}._base:Module.from_spec",
        "(module, spec, seed, dtype, device, recompute)",
        "(module, spec, seed, dtype, device, False)",
        BLOCK,
        f"{MODULES}::test_recomputation_keeps_less_for_the_backward_pass",
    ),
    edit(
        "PyTorch: a specification's element type is forgotten",
        f"{TORCH}._base:Module.from_spec",
        "(module, spec, seed, dtype,",
        "(module, spec, seed, None,",
        CP,
        f"{MODULES}::test_an_element_type_is_that_of_the_parameters",
    ),
    edit(
        "PyTorch: the first seed is everyone's",
        f"{TORCH}._values:draw_seed",
        'int(torch.randint(2**63 - 1, (), device="cpu"))',
        "0",
        CP,
        f"{MODULES}::test_without_a_seed_the_frameworks_generator_draws_one[torch]",
    ),
    edit(
        "PyTorch: float64 parameters are drawn in float32",
        f"{TORCH}._values:reset",
        '"float64" if any',
        '"float32" if any',
        CP,
        f"{MODULES}::test_values_are_drawn_in_the_parameters_type[torch]",
    ),
    edit(
        "PyTorch: a group is reset to another seed",
        f"{TORCH}._containers:TensorGroup.reset_parameters",
        "self.spec, seed)",
        "self.spec, (seed or 0) + 1)",
        CP,
        f"{GROUPS}::test_a_group_is_reset_alone",
    ),
    edit(
        "PyTorch: statistics that start again take the parameters along",
        f"{TORCH}._base:Module.reset_running_stats",
        "self._tensors(self._state_groups)",
        "self._all_tensors()",
        BATCH_NORM,
        f"{GROUPS}::test_statistics_start_again",
    ),
    edit(
        "PyTorch: a block materializes its first layer twice",
        f"{TORCH}._module:MuMoEBlock.materialize",
        "self._cores(name)",
        'self._cores("first")',
        BLOCK,
        f"{BLOCKS}::test_a_block_materializes_both_of_its_layers[torch]",
    ),
    edit(
        "PyTorch: a state dict does not say what it is of",
        f"{TORCH}._checkpoints:note",
        "metadata[_KEY] = text",
        "pass",
        CP,
        f"{CHECKPOINTS}::test_a_layer_inside_a_model_is_named",
    ),
    edit(
        "PyTorch: weights of another specification are taken",
        f"{TORCH}._checkpoints:check",
        "or noted == own",
        "or noted",
        CP,
        f"{CHECKPOINTS}::test_a_layer_inside_a_model_is_named",
    ),
    edit(
        "PyTorch: how a layer is planned is part of its weights",
        f"{TORCH}._checkpoints:describe",
        'spec.replace(optimize="auto", memory_limit=None, initialization="linear")',
        "spec",
        CP,
        f"{CHECKPOINTS}::test_how_a_layer_is_planned_does_not_matter",
    ),
    edit(
        "PyTorch: an unpickled layer has no plans",
        f"{TORCH}._base:Module.__setstate__",
        "self.spec.prepare()",
        "pass",
        CP,
        f"{MODULES}::test_a_layer_that_was_copied_or_unpickled_has_its_plans",
    ),
]

DIFFERENTIATED = [
    Mutant(
        "PyTorch: ReLU's differentiable derivative is SiLU's",
        f"{TORCH}._nonlinearities:NONLINEARITIES",
        _silu_for_relu,
        BLOCK,
        f"{MODES}::test_gradients_that_can_be_differentiated_are_the_same_gradients[relu-block]",
    ),
    edit(
        "PyTorch: forward mode meets our own reverse mode",
        f"{TORCH}._programs:_own_reverse_mode",
        " or is_in_forward_mode(operands)",
        "",
        BLOCK,
        f"{MODES}::test_tangents_pass_through_a_layer_that_recomputes",
    ),
    edit(
        "PyTorch: the backward pass is in bfloat16 under any autocast",
        f"{TORCH}._programs:_Program.backward",
        "torch.autocast(device, dtype, enabled)",
        "torch.autocast(device, torch.bfloat16, enabled)",
        BLOCK,
        f"{MODES}::test_a_backward_pass_has_the_type_of_its_forward_pass",
    ),
    Mutant(
        "soft top-k's ε is not part of its identity",
        "gates.newton:SoftTopK",
        _without_eps,
        CP,
        "gates/test_identity.py::test_every_option_is_part_of_an_activations_identity[SoftTopK]",
    ),
]

MUTANTS = [*MODULE, *DIFFERENTIATED]

"""Faults in programs that read only some experts' slices, and in the choice of these programs."""

from mutants.harness import edit
from mutants.specs import SPARSE, SPARSE_LEVELS

LAYERS = "layers/test_active.py"
PROGRAMS = "programs/test_gathering.py"
TORCH = "backends/torch/test_torch_active.py"

MUTANTS = [
    edit(
        "slices are read at another level's places",
        "programs.slices:_gather",
        "places[mode].register for mode in modes",
        "places[mode].register for mode in modes[::-1]",
        SPARSE_LEVELS,
        "proof",
    ),
    edit(
        "slices are read along another axis",
        "programs.slices:_gather",
        "tensor.indices.index(mode) for mode in modes",
        "tensor.indices.index(mode) + (mode == 'n2') for mode in modes",
        SPARSE_LEVELS,
        "proof",
    ),
    edit(
        "the axes of slices are named in another order than they have",
        "programs.contraction:Contraction._gather",
        "(BATCH, *chosen, *(",
        "(BATCH, *chosen[::-1], *(",
        SPARSE_LEVELS,
        "proof",
    ),
    edit(
        "a slice's gradient is that of its last reader",
        "arrays.selection:NumPySelection.scatter",
        "np.add.at(rows, key_of(indices, tuple(range(len(axes))), rows.ndim), gradient)",
        "rows[key_of(indices, tuple(range(len(axes))), rows.ndim)] = gradient",
        SPARSE,
        "exact",
    ),
    edit(
        "rounding of added gradients is not counted",
        "verification.arithmetic.rounding:CountingOps.scatter",
        "bound=compound(gradient.bound, additions)",
        "bound=0 * compound(gradient.bound, additions)",
        SPARSE,
        "float",
    ),
    edit(
        "PyTorch chooses the largest, and not the farthest from 0",
        "tensormoe_torch._selection:TorchSelection.choose",
        "coefficients.detach().abs()",
        "coefficients.detach()",
        SPARSE,
        f"{PROGRAMS}::test_every_family_is_gathered_by_every_framework[torch-Dense()]",
    ),
    edit(
        "a hook's coefficients are taken for the gate's",
        "tensormoe_torch._gate:active_of",
        "or gate._forward_hooks or",
        "or",
        SPARSE,
        f"{TORCH}::test_what_hooks_put_in_place_of_coefficients_is_used_whole",
    ),
    edit(
        "steered experts are not counted among the active",
        "gates.gate:Gate.active",
        "min(k + further, experts)",
        "min(k, experts)",
        SPARSE,
        f"{LAYERS}::test_steered_experts_are_active_too",
    ),
    edit(
        "slices are read for any number of vectors",
        "programs.sparse:_pays",
        "_total(gathered, batch_size) + calls <=",
        "_total(gathered, min(batch_size, 1)) + calls <=",
        SPARSE,
        f"{PROGRAMS}::test_slices_are_chosen_for_few_vectors_of_large_cores_alone",
    ),
    edit(
        "coefficients of your own are not counted",
        "layers.active:keep_active",
        "<= k) is False",
        "<= k) is None",
        SPARSE,
        f"{LAYERS}::test_more_coefficients_than_you_say_are_refused",
    ),
]

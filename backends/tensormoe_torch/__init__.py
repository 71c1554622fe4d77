"""tensormoe on PyTorch: `torch.nn.Module`s and the backend object.

Examples:
    >>> import tensormoe as tm, torch
    >>> from tensormoe_torch import MuMoE
    >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
    >>> layer(torch.ones(2, 8)).shape
    torch.Size([2, 6])
"""

from ._backend import backend
from ._containers import TensorGroup
from ._decay import parameter_groups
from ._gate import GateModule, RouterModule
from ._module import MuMoE, MuMoEBlock
from ._observer import observer
from ._pickles import trust_specifications
from ._routing import routed
from ._synchronization import synchronize
from ._tying import share
from .distillation import Distillation, Fidelity, distill
from .quantization import quantize_cores
from .surgery import Replacement, replace

__all__ = [
    "Distillation",
    "Fidelity",
    "GateModule",
    "MuMoE",
    "MuMoEBlock",
    "Replacement",
    "RouterModule",
    "TensorGroup",
    "backend",
    "distill",
    "observer",
    "parameter_groups",
    "quantize_cores",
    "replace",
    "routed",
    "share",
    "synchronize",
]

trust_specifications()

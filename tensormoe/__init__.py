"""Factorized mixture-of-experts layers as tensor networks, on NumPy, PyTorch and JAX.

Write the weight tensor's factorization in one line of index notation; get a layer that never builds it:

    >>> import tensormoe as tm
    >>> network = tm.TensorNetwork("n1 r, n2 r, i r, o r", r=64)
    >>> spec = tm.MuMoESpec(768, 3072, experts=(16, 16), factorization=network)
    >>> spec.num_parameters, spec.network.weight_shape
    (272448, (16, 16, 769, 3072))
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import interrupt as interrupt  # first, so that Ctrl-C is quiet while the rest is imported
from .arrays.registry import available_backends, backend_of, get_backend
from .displays import provide
from .errors import TensorMoEError
from .gates.activations import Activation
from .gates.clustering import adaptive_clustering_weights
from .gates.functional import (
    entmax,
    entmax15,
    jump_relu,
    relu,
    relu_top_k,
    sigmoid,
    soft_rank,
    soft_top_k,
    softmax,
    sparsemax,
    top_k,
)
from .gates.gate import Gate
from .gates.learned_routers import CosineRouter, LowRankRouter, NoisyRouter
from .gates.routers import AdaptiveClustering, LinearRouter, Router
from .layers.block_spec import MuMoEBlockSpec
from .layers.building import build
from .layers.cores import contract, materialize
from .layers.functional import apply
from .layers.initialization import initialize
from .layers.layer_spec import MuMoESpec
from .layers.merging import apply_merged, merge
from .layers.parameters import cores_of
from .layers.serialization import spec_from_json
from .layers.soft_moe import soft_moe
from .layers.spec import Spec
from .layers.tensorly import from_tensorly, to_tensorly
from .networks.factorization import Factorization, Sum
from .networks.families import CP, Dense, TensorRing, TensorTrain, Tucker
from .networks.network import Core, Network
from .networks.notation import expert_modes
from .networks.structured import BTT, Butterfly, Kronecker, Monarch, TTMatrix
from .networks.tensor_network import TensorNetwork
from .programs.block_plan import BlockPlan
from .programs.plan import Plan

if TYPE_CHECKING:
    from . import analysis as analysis
    from . import editing as editing
    from . import exploring
    from . import fitting as fitting
    from .benching import BenchReport, bench
    from .checkpoints.loading import load, load_arrays
    from .checkpoints.published import from_published
    from .checkpoints.saved import SavedLayer
    from .checkpoints.saving import save
    from .drawing import draw
    from .fitting import Fit, fit, upcycle
    from .ranks import RankChange, canonicalize, grow, simplify, truncate
    from .verification import VerificationReport, verify
    from .verification.proof.chain import BlockProof
    from .verification.proof.prove import Proof
    from .verification.proof.trace import ProofError
    from .verification.prove import prove

    explore = exploring
else:
    # Imported at their first use: they take as long as all the rest, and few programs need them.
    _FOLDERS = {"analysis": "analysis", "editing": "editing", "explore": "exploring", "fitting": "fitting"}
    _LATER = {
        "BenchReport": "benching",
        "BlockProof": "verification.proof.chain",
        "Fit": "fitting",
        "Proof": "verification.proof.prove",
        "ProofError": "verification.proof.trace",
        "RankChange": "ranks",
        "SavedLayer": "checkpoints.saved",
        "VerificationReport": "verification",
        "bench": "benching",
        "canonicalize": "ranks",
        "draw": "drawing",
        "fit": "fitting",
        "from_published": "checkpoints.published",
        "grow": "ranks",
        "load": "checkpoints.loading",
        "load_arrays": "checkpoints.loading",
        "prove": "verification.prove",
        "save": "checkpoints.saving",
        "simplify": "ranks",
        "truncate": "ranks",
        "upcycle": "fitting",
        "verify": "verification",
    }

    def __getattr__(name):
        if name in _FOLDERS:
            module = globals()[name] = import_module(f".{_FOLDERS[name]}", __name__)
            return module
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
        return value

    def __dir__():
        return sorted({*globals(), *_FOLDERS, *_LATER})

    # Networks draw themselves by what lies above them.
    provide(lambda what, title: __getattr__("draw")(what, title=title))


__version__ = "0.1.0"

__all__ = [
    "BTT",
    "CP",
    "Activation",
    "AdaptiveClustering",
    "BenchReport",
    "BlockPlan",
    "BlockProof",
    "Butterfly",
    "Core",
    "CosineRouter",
    "Dense",
    "Factorization",
    "Fit",
    "Gate",
    "Kronecker",
    "LinearRouter",
    "LowRankRouter",
    "Monarch",
    "MuMoEBlockSpec",
    "MuMoESpec",
    "Network",
    "NoisyRouter",
    "Plan",
    "Proof",
    "ProofError",
    "RankChange",
    "Router",
    "SavedLayer",
    "Spec",
    "Sum",
    "TTMatrix",
    "TensorMoEError",
    "TensorNetwork",
    "TensorRing",
    "TensorTrain",
    "Tucker",
    "VerificationReport",
    "adaptive_clustering_weights",
    "apply",
    "apply_merged",
    "available_backends",
    "backend_of",
    "bench",
    "build",
    "canonicalize",
    "contract",
    "cores_of",
    "draw",
    "entmax",
    "entmax15",
    "expert_modes",
    "fit",
    "from_published",
    "from_tensorly",
    "get_backend",
    "grow",
    "initialize",
    "jump_relu",
    "load",
    "load_arrays",
    "materialize",
    "merge",
    "prove",
    "relu",
    "relu_top_k",
    "save",
    "sigmoid",
    "simplify",
    "soft_moe",
    "soft_rank",
    "soft_top_k",
    "softmax",
    "sparsemax",
    "spec_from_json",
    "to_tensorly",
    "top_k",
    "truncate",
    "upcycle",
    "verify",
]

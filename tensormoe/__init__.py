"""Factorized mixture-of-experts layers as tensor networks, on NumPy, PyTorch and JAX.

Write the weight tensor's factorization in one line of index notation; get a layer that never builds it:

    >>> import tensormoe as tm
    >>> network = tm.TensorNetwork("n1 r, n2 r, i r, o r", r=64)
    >>> spec = tm.MuMoESpec(768, 3072, experts=(16, 16), factorization=network)
    >>> spec.num_parameters, spec.network.weight_shape
    (272448, (16, 16, 769, 3072))
"""

from .activations import entmax, entmax15, soft_rank, soft_top_k, softmax, sparsemax, top_k
from .backend import available_backends, backend_of, get_backend
from .benching import BenchReport, bench
from .block_spec import MuMoEBlockSpec
from .building import build
from .clustering import adaptive_clustering_weights
from .errors import TensorMoEError
from .factorization import Factorization
from .families import CP, Dense, TensorNetwork, TensorRing, TensorTrain, Tucker
from .gate import Gate
from .initialization import initialize
from .layer import apply, contract, materialize
from .layer_spec import MuMoESpec
from .network import Core, Network
from .notation import expert_modes
from .oracle import soft_moe
from .planning import BlockPlan, Plan
from .proof import Proof, ProofError, prove
from .routers import AdaptiveClustering, Linear, Router
from .spec import Spec, spec_from_json
from .verification import Report, verify
from .weightings import Activation

__version__ = "0.1.0"

__all__ = [
    "CP",
    "Activation",
    "AdaptiveClustering",
    "BenchReport",
    "BlockPlan",
    "Core",
    "Dense",
    "Factorization",
    "Gate",
    "Linear",
    "MuMoEBlockSpec",
    "MuMoESpec",
    "Network",
    "Plan",
    "Proof",
    "ProofError",
    "Report",
    "Router",
    "Spec",
    "TensorMoEError",
    "TensorNetwork",
    "TensorRing",
    "TensorTrain",
    "Tucker",
    "adaptive_clustering_weights",
    "apply",
    "available_backends",
    "backend_of",
    "bench",
    "build",
    "contract",
    "entmax",
    "entmax15",
    "expert_modes",
    "get_backend",
    "initialize",
    "materialize",
    "prove",
    "soft_moe",
    "soft_rank",
    "soft_top_k",
    "softmax",
    "sparsemax",
    "spec_from_json",
    "top_k",
    "verify",
]

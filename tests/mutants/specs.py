"""Small layers and blocks to try mutants on.

All axes have the same size, the input's with its bias row among them, so that no fault shows by a shape.
"""

from functools import partial

import numpy as np

import tensormoe as tm
from tensormoe.gates.steering import Sharing, Steering

_network = tm.TensorNetwork
_layer = partial(tm.MuMoESpec, 2, 3)

CP = partial(_layer, 3, tm.CP(3))
CP_LEVELS = partial(_layer, (3, 3), tm.CP(3))
DENSE = partial(_layer, 3, tm.Dense())
DENSE_LEVELS = partial(_layer, (3, 3), tm.Dense())
# The same, each level by its name.
NAMED_LEVELS = partial(_layer, (3, 3), _network("n1 n2 i o"))
# One core whose axes are permuted in a circle, which is not its own inverse.
TURNED = partial(_layer, (3, 3), _network("n2 n1 i o"))
# One core, whose axes come in the reverse of the order that products read.
REVERSED = partial(_layer, 3, _network("o n i"))
RING = partial(_layer, 3, tm.TensorRing((3, 3, 3)))
# A ring whose cores have to be copied into the order that products read.
MOVED = partial(_layer, 3, _network("a n b, b i c, c o a", a=3, b=3, c=3))
TRAIN = partial(_layer, 3, tm.TensorTrain((3, 3)))
TUCKER = partial(_layer, 3, tm.Tucker((3, 3, 3)))
# Every right side of a product is a square matrix.
SQUARE = partial(tm.MuMoESpec, 3, 3, 3, tm.CP(3), bias=False)
# A bond in all four cores.
HYPEREDGE = partial(_layer, 3, _network("g n p, g i q, g o s, g p q s", g=3, p=3, q=3, s=3))
# A bond in one core only, to be summed at once.
DANGLING = partial(_layer, 3, _network("d n r, i r, o r", d=1, r=3))
# Modes in two cores.
DECODERS = partial(_layer, 3, _network("n o, i o"))
SHARED = partial(_layer, 3, _network("n i o, n"))
# A sum of three terms: what experts share, and two that differ in number and order of cores.
SUM = partial(_layer, 3, _network("i o + n r, i r, r o + n o i", r=3))
# A core that is used twice, in one term and in two.
TIED = partial(_layer, 3, _network("n r, A: i r, A: o r", r=3))
TIED_SUM = partial(_layer, 3, _network("n r, A: i r, B: r o + n s, A: i s, B: s o, C: n t", r=3, s=3, t=1))
# Its first reader stands for its second use: inputs are met first.
CROSSED = partial(_layer, 3, _network("A: o r, n r, A: i r", r=3))
# Low-rank experts beside a frozen weight, and a transform of the inputs that is not trained.
_frozen = {"W": np.arange(9.0).reshape(3, 3) - 4}
LORA = partial(_layer, 3, _network("W: i o + n i r, n r o", r=3, fixed=_frozen))
MIXED = partial(tm.MuMoESpec, 4, 4, 4, _network("H: i q, n q, q o", q=4, fixed={"H": "hadamard"}), bias=False)
# A gate that leaves two coefficients of a level other than 0, and cores of one and of two levels.
TWO = tm.Gate(tm.Activation("top_k", k=2))
SPARSE = partial(_layer, 3, tm.Dense(), TWO)
SPARSE_LEVELS = partial(_layer, (3, 3), _network("n1 i n2 o"), TWO)
# A vector that stretches along the axes of other cores.
SCALED = partial(_layer, 3, _network("r, n r, i r, o r", r=3))
# CP with its cores transposed: the same shapes.
TRANSPOSED = partial(_layer, 3, _network("r n, r i, r o", r=3))
# A product of two cores alone comes first.
CHAIN = partial(_layer, 3, _network("n r, i q, q r, o r", q=3, r=3))
# Inputs in two cores: x meets the first before they are summed over.
TWICE = partial(_layer, 3, _network("n i, i o"))
# Experts are more than outputs, so that they are weighed first, and each token has a matrix of its own.
WEIGHED = partial(tm.MuMoESpec, 2, 2, 4, tm.Dense())
# Sums so long that half precision cannot accumulate them.
LONG = partial(tm.MuMoESpec, 511, 3, 2, tm.CP(3), bias=False)

# Five of everything that a gate has, as there are five tokens.
_gated = partial(tm.MuMoESpec, 5, 5, 5, tm.CP(2))
ENTMAX15 = partial(_gated, gate=tm.Gate())
SOFTMAX = partial(_gated, gate=tm.Gate("softmax"))
SPARSEMAX = partial(_gated, gate=tm.Gate("sparsemax"))
ENTMAX = partial(_gated, gate=tm.Gate(tm.Activation("entmax", alpha=1.3)))
SOFT_TOP_K = partial(_gated, gate=tm.Gate(tm.Activation("soft_top_k", k=2)))
TOP_K = partial(_gated, gate=tm.Gate(tm.Activation("top_k", k=2)))
# Routers with parameters of their own, and an output bias.
BIASED = partial(_gated, gate=tm.Gate("softmax", None, tm.LinearRouter(bias=True)), output_bias=True)
COSINES = partial(_gated, gate=tm.Gate("softmax", None, tm.CosineRouter()))
FEW_FEATURES = partial(_gated, gate=tm.Gate("softmax", None, tm.LowRankRouter(5)))
LEARNED_NOISE = partial(_gated, gate=tm.Gate("softmax", None, tm.NoisyRouter()))
GATE_EACH = partial(
    tm.MuMoESpec, 5, 5, (5, 5), tm.CP(2), gate=(tm.Gate("softmax", None), tm.Gate("sparsemax", None))
)
RELU = partial(_gated, gate=tm.Gate("relu", temperature=0.5))
SIGMOID = partial(_gated, gate=tm.Gate("sigmoid"))
RELU_TOP_K = partial(_gated, gate=tm.Gate(tm.Activation("relu_top_k", k=2)))
JUMP_RELU = partial(_gated, gate=tm.Gate(tm.Activation("jump_relu", threshold=0.5)))
COLD = partial(_gated, gate=tm.Gate(temperature=0.5))
NOISY = partial(_gated, gate=tm.Gate(noise=0.1))
BATCH_NORM = partial(_gated, gate=tm.Gate(norm="batch"))
GATED_LEVELS = partial(tm.MuMoESpec, 5, 5, (5, 5), tm.CP(2), tm.Gate(norm="batch"))
# More logits than are sorted, or left to NumPy.
MANY_SPARSEMAX = partial(tm.MuMoESpec, 5, 5, 1024, tm.CP(2), tm.Gate("sparsemax"))
MANY_SOFT_TOP_K = partial(tm.MuMoESpec, 5, 5, 1024, tm.CP(2), SOFT_TOP_K().gate)
MANY_SOFTMAX = partial(tm.MuMoESpec, 5, 2, 512, tm.CP(2), tm.Gate("softmax", "batch"))
CLUSTERS = partial(_gated, gate=tm.Gate(router=tm.AdaptiveClustering(statistics="batch")))
HARD_CLUSTERS = partial(
    _gated, gate=tm.Gate(router=tm.AdaptiveClustering(statistics="batch", assignment="hard"))
)
STEERED = partial(
    _gated, gate=tm.Gate(steering=(Steering(0, 1, 0.3), Steering(0, 2, 0.5, adds=True, renormalize=True)))
)
SPLIT = partial(tm.MuMoESpec, 5, 5, 7, tm.CP(2), tm.Gate("softmax", steering=(Sharing(0, 1, 3),)))

# Each core is a square matrix.
CORES = partial(tm.MuMoESpec, 4, 5, 5, tm.CP(5))
BLOCK = partial(tm.MuMoEBlockSpec, 5, 5, 5, (5, 5), tm.CP(5))
NORMED_BLOCK = partial(BLOCK, input_norm=True)
JOINT = partial(tm.MuMoEBlockSpec, 5, 5, 5, 5, tm.CP(5), shared="expert1")
GATED_BLOCK = partial(BLOCK, gated=True, nonlinearity="silu")
# A layer without experts before one with them.
ENCODER = partial(tm.MuMoEBlockSpec, 5, 5, 5, 5, (_network("i o"), _network("n o, i o")))
# Two layers of one input, of which one has biases.
MIXED_BIASES = partial(GATED_BLOCK, bias=(False, True, True))

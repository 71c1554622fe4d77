"""The specification of one layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import positive_integer, true_or_false
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..networks.network import Network
from ..programs.contraction import Contraction
from ..programs.path import AnyOptimize, Optimize
from ..programs.plan import Plan
from .spec import Spec, check_factorization
from .stage import Stage


@dataclass(frozen=True, init=False)
class MuMoESpec(Spec):
    """One multilinear mixture-of-experts layer: y = Σ W[n1 … nE, i, o] Π_e a_e[n_e] [x, 1][i].

    Args:
        in_features: I, the size of x's last dimension.
        out_features: O, the size of y's last dimension.
        experts: N, or one count for each level (N1, …, NE); the layer has ∏ N_e experts. With () and
            gate=None it has none: y = W [x, 1], a factorized linear layer.
        factorization: how the weight tensor W (N1, …, NE, I[+1], O) is factorized.
        gate: how the coefficients a_e (…, N_e) are computed from x (…, I): one gate for all levels, or one
            for each; None if they come with each call, as `coefficients=`.
        bias: whether to append a constant 1 to x; the last row of the input mode then holds each expert's
            bias.
        optimize: how to find the path: "auto", the name of another opt_einsum search, a path over x, the
            coefficients and the cores (pairs of positions among the live tensors, results appended), or an
            opt_einsum or cotengra optimizer. An optimizer is called once, for 1,024 input vectors; the field
            then holds its path.
        memory_limit: the largest intermediate allowed, in elements, for up to 1,024 input vectors.
        initialization: how cores start: "linear", as one linear layer at the scale of nn.Linear, around which
            the experts of every level differ; or "published", as in the paper's code, where only the first
            level's do.
        gate_features: the size of an input of the router's own, which comes with each call as
            `router_input=`; by default the router reads x.
        output_bias: whether a vector (O,) is added to the mixture, whatever the coefficients are. (What
            `bias` adds is part of the mixture: Σ a_n b_n.)

    Raises:
        TensorMoEError: a count that is not a positive integer, a gate without experts, a factorization or a
            path that does not fit, or a memory limit that no path meets.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(768, 3072, experts=(16, 16), factorization=tm.CP(rank=64))
        >>> spec.num_parameters, spec.network.weight_shape
        (272448, (16, 16, 769, 3072))
        >>> linear = tm.MuMoESpec(64, 32, (), tm.TensorNetwork("i r, r o", r=8), gate=None)
        >>> linear.num_parameters, linear.network.weight_shape
        (776, (65, 32))
    """

    in_features: int
    out_features: int
    experts: tuple[int, ...]
    factorization: Factorization
    gate: Gate | tuple[Gate, ...] | None
    bias: bool
    optimize: Optimize
    memory_limit: int | None
    initialization: str
    gate_features: int | None
    output_bias: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | Sequence[int],
        factorization: Factorization,
        gate: Gate | Sequence[Gate] | None = Gate(),
        bias: bool = True,
        optimize: AnyOptimize = "auto",
        memory_limit: int | None = None,
        initialization: str = "linear",
        gate_features: int | None = None,
        output_bias: bool = False,
    ) -> None:
        self._set(
            in_features=positive_integer("in_features", in_features),
            out_features=positive_integer("out_features", out_features),
        )
        checked = check_factorization(factorization), gate, true_or_false("bias", bias)
        self._set_shared(experts, *checked, memory_limit, initialization, gate_features, output_bias)
        self._set(optimize=self._stage("auto").resolve(optimize))
        self._check_plans()

    @cached_property
    def layers(self) -> dict[str, Stage]:
        return {"cores": self._stage(self.optimize)}

    def _stage(self, optimize: Optimize) -> Stage:
        return Stage(
            self.in_features,
            self.out_features,
            self.experts,
            self.factorization,
            self.bias,
            optimize,
            self.memory_limit,
        )

    @property
    def between(self) -> None:
        return None

    @property
    def stage(self) -> Stage:
        """The layer without its gate."""
        return self.layers["cores"]

    @property
    def network(self) -> Network:
        """The factorization's network at this layer's sizes."""
        return self.stage.network

    @property
    def contraction(self) -> Contraction:
        """What the layer computes from x, the coefficients and the cores."""
        return self.stage.contraction

    def plan(self, batch_size: int = 1024, active: int | Sequence[int] | None = None) -> Plan:
        """How the layer computes a batch of this size: a table of pairwise products with their costs.

        Args:
            batch_size: the number of input vectors.
            active: for the gathered plan, which reads only the slices of so many experts of each level, at
                any batch size. By default, what the layer runs: that plan if its gate leaves at most so many
                coefficients other than 0 and few vectors make it faster.

        Raises:
            TensorMoEError: a batch size that is not a positive integer, or a number of active experts that
                the gate may exceed.

        Examples:
            >>> import tensormoe as tm
            >>> plan = tm.MuMoESpec(8, 6, 4, tm.CP(rank=5), bias=False).plan(batch_size=10)
            >>> plan.macs == 10 * 5 * (4 + 8 + 6)
            True
            >>> gate = tm.Gate(tm.Activation("top_k", k=2))
            >>> spec = tm.MuMoESpec(64, 64, 256, tm.Dense(), gate, bias=False)
            >>> spec.stage.plan(batch_size=1).macs / spec.plan(batch_size=1, active=2).macs
            128.5
        """
        (plan,) = self._plans_at(batch_size, active)
        return plan

    @property
    def plans(self) -> tuple[tuple[int, Plan], ...]:
        """The plans that the layer runs; see `Stage.plans`."""
        return tuple((least, plan) for least, (plan,) in self.plans_for(self.active))

    @property
    def default_plan(self) -> Plan:
        """The plan for large batches and for batches of unknown size."""
        return self.stage.default_plan

    @property
    def materialization_plan(self) -> Plan:
        """How the cores are multiplied out to the weight tensor."""
        return self.stage.materialization_plan

    @property
    def merging_plan(self) -> Plan:
        """How experts are merged; see `Stage.merging_plan`.

        Examples:
            >>> import tensormoe as tm
            >>> plan = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False).merging_plan
            >>> plan.macs == 5 * 4 + 5 * 8 * 6
            True
        """
        return self.stage.merging_plan

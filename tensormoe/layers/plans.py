"""Plans and programs of a specification: for any coefficients, and for those of which few differ from 0."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

from ..arrays.protocols import Nonlinearity
from ..errors import TensorMoEError, positive_integer
from ..programs.block_plan import chain_plans
from ..programs.plan import Plan, for_batch
from ..programs.program import Program
from ..programs.sparse import read_active, sparse_plans
from .names import Names
from .stage import Programs


class Plans(Names):
    """What follows from a specification's stages and the nonlinearity between them."""

    memory_limit: int | None

    @property
    @abstractmethod
    def between(self) -> Nonlinearity | None:
        """The nonlinearity before the last stage; None if there is only one stage."""

    @cached_property
    def programs(self) -> Programs:
        """The programs that compute the output from the input, the coefficients and all cores.

        Each comes with the smallest batch size that it is chosen for, in descending order down to 0. It can
        run a batch of any size.
        """
        return self.programs_for(None)

    @cached_property
    def active(self) -> tuple[int, ...] | None:
        """At most how many coefficients of each level differ from 0; None if the gate says nothing about it.

        Examples:
            >>> import tensormoe as tm
            >>> gate = tm.Gate(tm.Activation("top_k", k=2))
            >>> tm.MuMoESpec(8, 6, experts=16, factorization=tm.CP(rank=5), gate=gate).active
            (2,)
        """
        counts = tuple(each.gate.active(each.number, each.experts) for each in self.gate_levels)
        return counts if counts != self.experts and self.gate is not None else None

    def plans_for(
        self, active: tuple[int, ...] | None, accelerated: bool = False
    ) -> tuple[tuple[int, tuple[Plan, ...]], ...]:
        """The plans of all layers, each with the smallest batch size that they are chosen for, falling to 0.

        Args:
            active: at most how many coefficients of each level differ from 0, if known. Plans for few vectors
                then read no more than these experts' slices, where that is faster.
            accelerated: whether that is asked of a GPU or the like.
        """
        stages = self.layers.values()
        if active is not None:
            layers = tuple((stage.contraction, stage.optimize) for stage in stages)
            return sparse_plans(layers, active, self.memory_limit, accelerated)
        limits = sorted({least for stage in stages for least, _ in stage.plans}, reverse=True)
        return tuple((least, tuple(for_batch(stage.plans, least) for stage in stages)) for least in limits)

    def programs_for(self, active: tuple[int, ...] | None, accelerated: bool = False) -> Programs:
        """As `programs`, for coefficients of which at most so many of each level differ from 0."""
        known = self._programs.get((active, accelerated))
        if known is None:
            plans = self.plans_for(active, accelerated)
            known = tuple((least, self._chain(each)) for least, each in plans)
            self._programs[active, accelerated] = known
        return known

    @cached_property
    def _programs(self) -> dict[tuple[tuple[int, ...] | None, bool], Programs]:
        return {}

    def _chain(self, plans: Sequence[Plan]) -> Program:
        return chain_plans(plans, self.between or "identity")

    def program_for(self, batch_size: int | None) -> Program:
        """The program for a batch of this size; None for an unknown size."""
        return for_batch(self.programs, batch_size)

    def _plans_at(self, batch_size: int, active: object) -> tuple[Plan, ...]:
        """The plans of all layers; see `MuMoESpec.plan`."""
        size = positive_integer("batch_size", batch_size)
        if active is None:
            return tuple(each.at(size) for each in for_batch(self.plans_for(self.active), size))
        counts = read_active(active, self.experts)
        # Without a gate, coefficients are your own.
        certain = counts if self.gate is None else self.active or self.experts
        if any(k < most for k, most in zip(counts, certain, strict=True)):
            remedy = (
                f"the gate may give {certain} experts coefficients other than 0: pass as many, or choose "
                'tm.Activation("top_k", k=…); for coefficients of your own, use tm.contract(…, active=…) '
                "and spec.stage.plan(active=…)"
            )
            raise TensorMoEError("active", active, remedy)
        return tuple(stage.plan(size, counts[: stage.levels]) for stage in self.layers.values())

"""Proofs of whatever has programs: specifications, plans, and programs of your own."""

from typing import overload

from ..errors import TensorMoEError
from ..layers.spec import Spec
from ..programs.contraction import Contraction
from ..programs.plan import BlockPlan, Plan
from ..programs.program import Program
from .proof.prove import BlockProof, Proof, prove_program


@overload
def prove(subject: BlockPlan) -> BlockProof: ...


@overload
def prove(subject: Plan) -> Proof: ...


@overload
def prove(subject: Spec) -> Proof | BlockProof: ...


@overload
def prove(subject: Contraction, program: Program) -> Proof: ...


def prove(
    subject: Spec | Plan | BlockPlan | Contraction, program: Program | None = None
) -> Proof | BlockProof:
    """Prove that a program computes its contraction, for all values and whatever the sizes.

    Args:
        subject: a specification or a plan, whose own program is proved; or a contraction, such as
            `spec.contraction`.
        program: what is to compute the contraction.

    Returns:
        The derivation of a layer's program, or those of a block's two layers.

    Raises:
        ProofError: names the first step that breaks, and why.
        TensorMoEError: a contraction without a program, or another subject.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> proof = tm.prove(spec)
        >>> print(proof.steps[2].statement)
        t3[…, r] = t1[…, r] t2[…, r]
    """
    if isinstance(subject, Contraction) and program is not None:
        return prove_program(subject, program)
    plan = subject.plan() if isinstance(subject, Spec) else subject
    if program is None and isinstance(plan, BlockPlan):
        return BlockProof(
            *(prove_program(each.contraction, each.program) for each in (plan.first, plan.second))
        )
    if program is None and isinstance(plan, Plan):
        return prove_program(plan.contraction, plan.program)
    raise TensorMoEError(
        "subject", subject, "pass a specification or a plan alone, or a contraction together with a program"
    )

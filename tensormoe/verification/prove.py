"""Proofs of anything that has programs: specifications, plans, and your own programs."""

from typing import overload

from ..errors import TensorMoEError
from ..layers.spec import Spec, refuse_module
from ..layers.stage import Stage
from ..programs.block_plan import BlockPlan
from ..programs.contraction import Contraction
from ..programs.plan import Plan
from ..programs.program import Program
from .proof.chain import BlockProof, prove_chain
from .proof.prove import Proof, prove_program


@overload
def prove(subject: BlockPlan) -> BlockProof: ...


@overload
def prove(subject: Plan | Stage) -> Proof: ...


@overload
def prove(subject: Spec) -> Proof | BlockProof: ...


@overload
def prove(subject: Contraction, program: Program) -> Proof: ...


def prove(
    subject: Spec | Stage | Plan | BlockPlan | Contraction, program: Program | None = None
) -> Proof | BlockProof:
    """Prove that a program computes what it should, for all values and all sizes.

    A layer's program computes its contraction. A block's program computes those of its layers, with the
    nonlinearity as an opaque symbol: the proof holds for any function of each element.

    Args:
        subject: a specification, whose programs for large and for small batches are all proved; a plan, whose
            own program is; or a contraction, such as `stage.contraction`.
        program: the program that should compute the contraction.

    Returns:
        The derivation of the program; for a specification, of the program for large batches. For a block,
        also the derivations of its layers alone.

    Raises:
        ProofError: names the first step that breaks, and why.
        TensorMoEError: a contraction without a program, or any other subject.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> proof = tm.prove(spec)
        >>> print(proof.steps[2].statement)
        t3[…, r] = t1[…, r] t2[…, r]
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5))
        >>> print(tm.prove(block).chain.steps[4].statement)
        t5[…, i′] = gelu(t4[…, o])
    """
    match subject, program:
        case Contraction(), Program():
            return prove_program(subject, program)
        case Plan(), None:
            return prove_program(subject.contraction, subject.program)
        case BlockPlan(), None:
            contractions = [plan.contraction for plan in subject.layers.values()]
            chain = prove_chain(contractions, subject.nonlinearity, subject.program)
            return BlockProof({name: prove(plan) for name, plan in subject.layers.items()}, chain)
        case Stage(), None:
            return _prove_stage(subject)
        case Spec(), None:
            return _prove_spec(subject)
    refuse_module("subject", subject)
    raise TensorMoEError(
        "subject", subject, "pass a specification or a plan alone, or a contraction together with a program"
    )


def _prove_stage(stage: Stage) -> Proof:
    proofs = [prove_program(stage.contraction, program) for _, program in stage.programs]
    return proofs[0]


def _prove_spec(spec: Spec) -> Proof | BlockProof:
    if spec.between is None:
        (stage,) = spec.layers.values()
        return _prove_stage(stage)
    contractions = [stage.contraction for stage in spec.layers.values()]
    chains = [prove_chain(contractions, spec.between, program) for _, program in spec.programs]
    return BlockProof({name: _prove_stage(stage) for name, stage in spec.layers.items()}, chains[0])

"""Certificates of a specification's programs, and the method of verification that asks Coq about them."""

from collections.abc import Iterator, Mapping

from ..layers.spec import Spec
from ..programs.program import Program
from .attempt import StepError, step
from .coq.chain import export_chain
from .coq.check import check_certificate, find_coqc
from .coq.export import export
from .report import Check

# What stands in place of a layer for the program of a block.
BLOCK = "block"


def certify_layers(spec: Spec) -> dict[str, str]:
    """Certificates of the programs of each layer, and of a block's own, by what they show.

    Raises:
        TensorMoEError: Coq is not installed, or a certificate cannot speak about a layer.
    """
    find_coqc()
    certificates = {}
    for name, least, program in list_programs(spec):
        label = {"cores": "", BLOCK: "block, "}.get(name, f"{name} layer, ")
        several = len((spec.layers.get(name) or spec).programs) > 1
        where = f" from batch size {least}" if several else ""
        certificates[f"{label}output and gradients{where}"] = write_certificate(spec, name, program)
    return certificates


def list_programs(spec: Spec) -> Iterator[tuple[str, int, Program]]:
    """Each program of each layer, and of a block itself, with the least batch size that it is for."""
    for name, stage in spec.layers.items():
        for least, program in stage.programs:
            yield name, least, program
    if spec.between is not None:
        for least, program in spec.programs:
            yield BLOCK, least, program


def write_certificate(spec: Spec, name: str, program: Program) -> str:
    """The certificate of one program, of the layer of this name or of the block.

    Raises:
        TensorMoEError: something that a certificate cannot speak about.
    """
    # Not the plans' own contractions: a plan may be another layer's.
    if name in spec.layers or spec.between is None:
        return export(spec.layers[name].contraction, program)
    contractions = [stage.contraction for stage in spec.layers.values()]
    return export_chain(contractions, spec.between, program)


def coq_checks(certificates: Mapping[str, str]) -> Iterator[Check]:
    """What Coq says of each certificate."""
    for quantity, text in certificates.items():
        try:
            with step("coq", "Coq", quantity):
                verdict = check_certificate(text)
        except StepError as error:
            yield error.check
            continue
        count = f"{quantity}, {len(verdict.theorems)} theorems"
        reason = "" if verdict.passed else " ".join(str(verdict).split())
        yield Check("coq", "Coq", count, 0.0 if verdict.passed else 1.0, 0.0, reason=reason)

"""The method of verification that asks Coq."""

from collections.abc import Iterator, Mapping

from ..layers.spec import Spec
from ..programs.contraction import layer_contraction
from .attempt import StepError, step
from .coq.chain import export_chain
from .coq.check import check_certificate, find_coqc
from .coq.export import export
from .report import Check


def certify_layers(spec: Spec) -> dict[str, str]:
    """Certificates of the programs of each layer, and of a block's own, by what they show.

    Raises:
        TensorMoEError: Coq is not installed, or a certificate cannot speak about a layer.
    """
    find_coqc()
    certificates = {}
    for key, layer in spec.layers.items():
        # Not the plan's own contraction: a plan may be another layer's.
        contraction = layer_contraction(layer.network)
        for least, program in layer.programs:
            label = "" if key == "cores" else f"{key} layer, "
            where = f" from batch size {least}" if len(layer.programs) > 1 else ""
            certificates[f"{label}output and gradients{where}"] = export(contraction, program)
    if spec.between is not None:
        contractions = [layer_contraction(layer.network) for layer in spec.layers.values()]
        for least, program in spec.programs:
            where = f" from batch size {least}" if len(spec.programs) > 1 else ""
            certificates[f"block, output and gradients{where}"] = export_chain(
                contractions, spec.between, program
            )
    return certificates


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

"""Proofs that candidates of one topology share."""

from ..layers.layer_spec import MuMoESpec
from ..verification.prove import prove


def prove_shared(spec: MuMoESpec) -> bool:
    """Prove all programs of a specification, once for all sizes where that is sound.

    Raises:
        ProofError: as `tm.prove`.
    """
    prove(spec)
    return True

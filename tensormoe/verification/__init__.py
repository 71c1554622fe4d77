"""Verification: five methods, four of which compare a layer's computation with its soft MoE.

Nothing here shares code with planning or lowering: programs are given, and the network says what they should
compute.
"""

from .floating import float_checks
from .inputs import Inputs, Sample
from .report import METHODS, Check, VerificationReport
from .verify import Backends, resolve_backends, verify

__all__ = [
    "METHODS",
    "Backends",
    "Check",
    "Inputs",
    "Sample",
    "VerificationReport",
    "float_checks",
    "resolve_backends",
    "verify",
]

"""Verification: the implicit computation against the soft MoE that it stands for, on four levels.

Nothing here shares code with planning or lowering: programs are given, and what they are to compute is read
from the network.
"""

from .floating import float_checks
from .inputs import Inputs, Sample
from .report import LEVELS, Check, VerificationReport
from .verify import named_backend, verify

__all__ = [
    "LEVELS",
    "Check",
    "Inputs",
    "Sample",
    "VerificationReport",
    "float_checks",
    "named_backend",
    "verify",
]

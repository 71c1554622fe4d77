"""Verification: the implicit computation against the soft MoE that it stands for, on four levels.

Nothing here shares code with planning or lowering: programs are given, and what they are to compute is read
from the network.
"""

from .checks import LEVELS, Check, Report
from .verify import verify

__all__ = ["LEVELS", "Check", "Report", "verify"]

"""Cores for a weight that exists: fitted to it, or started from it as several experts."""

from .comparison import Comparison, compare
from .fit import Fit, fit
from .upcycle import upcycle

__all__ = ["Comparison", "Fit", "compare", "fit", "upcycle"]

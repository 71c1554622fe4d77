"""Replacing modules of a model by μMoE layers and blocks."""

from .replace import replace
from .report import Replacement, Row

__all__ = ["Replacement", "Row", "replace"]

"""Replacing modules of a model by μMoE layers and blocks."""

from .replace import replace

__all__ = ["replace"]

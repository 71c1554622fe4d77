"""Speed: a layer's time beside that of the MLP that it replaces and of its own bare matrix products."""

from .measure import bench
from .report import BenchReport, Measurement

__all__ = ["BenchReport", "Measurement", "bench"]

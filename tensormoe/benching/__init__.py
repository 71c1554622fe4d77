"""Speed: a layer's time, compared with the MLP that it replaces and with its own matrix products alone."""

from .measure import bench
from .report import BenchReport, Measurement

__all__ = ["BenchReport", "Measurement", "bench"]

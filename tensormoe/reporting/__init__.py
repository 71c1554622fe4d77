"""`tensormoe analyze`: a saved layer and a file of inputs in; a report as text, as JSON and as a page out."""

from .report import Report
from .run import analyze

__all__ = ["Report", "analyze"]

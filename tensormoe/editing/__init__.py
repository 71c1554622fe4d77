"""Edits of single experts, in the factors or beside them, and the proof that the others stay as they were."""

from .certify import Certificate, certify
from .changes import Add, AddBias, RewriteBias
from .edited import Edited, edit
from .edits import Ablate, Edit, Merge, Replace, Scale
from .loading import load, load_arrays
from .splitting import Split
from .steer import Steer

__all__ = [
    "Ablate",
    "Add",
    "AddBias",
    "Certificate",
    "Edit",
    "Edited",
    "Merge",
    "Replace",
    "RewriteBias",
    "Scale",
    "Split",
    "Steer",
    "certify",
    "edit",
    "load",
    "load_arrays",
]

"""Find a factorization, don't guess it: sweeps and searches, with costs, proofs and Pareto fronts."""

from .budget import Budget
from .canonical import canonical_key
from .evaluation import Evaluation
from .objectives import OBJECTIVES, measure
from .scaling import ScalingLaw, scaling
from .searching import search
from .space import Space
from .study import Study
from .sweep import sweep
from .tasks import Task, TaskResult, cost_alone, fit_to, train_with
from .trial import Trial

__all__ = [
    "OBJECTIVES",
    "Budget",
    "Evaluation",
    "ScalingLaw",
    "Space",
    "Study",
    "Task",
    "TaskResult",
    "Trial",
    "canonical_key",
    "cost_alone",
    "fit_to",
    "measure",
    "scaling",
    "search",
    "sweep",
    "train_with",
]

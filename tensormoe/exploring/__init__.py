"""Find a factorization, don't guess it: sweeps and searches, with costs, proofs and Pareto fronts."""

from .budget import Budget
from .canonical import canonical_key
from .evaluation import Evaluation
from .objectives import OBJECTIVES, measure
from .scaling import ScalingLaw, scaling
from .study import Study
from .sweep import sweep
from .tasks import Task, TaskResult, cost_alone, fit_to, train_with
from .trial import Trial

__all__ = [
    "OBJECTIVES",
    "Budget",
    "Evaluation",
    "ScalingLaw",
    "Study",
    "Task",
    "TaskResult",
    "Trial",
    "canonical_key",
    "cost_alone",
    "fit_to",
    "measure",
    "scaling",
    "sweep",
    "train_with",
]

"""The result of a verification: one check after another, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from typing import Any

from ..layers.serialization import spec_data
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..tables import fold, table, versions

METHODS = ("proof", "exact", "float", "frameworks", "capacity")
# By a program that is not part of Python: used only where it is named.
OPTIONAL_METHODS = ("coq",)


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        method: one of `METHODS`, or of `OPTIONAL_METHODS`.
        subject: what was run, such as "torch float32".
        quantity: what was compared, such as "gradients".
        error: the deviation. Proof, Coq: 1 if there is none. Exact: the number of wrong entries. Float: the
            difference, where its ratio to the bound is largest. Frameworks: the largest
            difference, relative to the largest entry. Capacity: the number of values that add nothing.
        bound: the largest error that passes.
        limit: the largest error that is possible. A bound beyond it says nothing; the table shows a dash.
        reason: what was raised, or why else nothing could be compared; the error is NaN then.
    """

    method: str
    subject: str
    quantity: str
    error: float
    bound: float
    limit: float = inf
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within a finite bound; a NaN is not."""
        return self.error <= self.bound < inf

    @property
    def ratio(self) -> float:
        """The error divided by its bound; 0 if there is no error."""
        if isnan(self.error) or isnan(self.bound):
            return float("nan")
        if self.error == 0:
            return 0.0
        return self.error / self.bound if self.bound else float("inf")


@dataclass(frozen=True)
class VerificationReport:
    """The result of `verify`; prints as a table.

    Args:
        spec: what was verified.
        checks: every comparison.
        remarks: notes on all of them, such as a probability.
        seed: the seed of the random values.
        unchecked: what was not checked, one sentence each.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> report = tm.verify(spec, backends=("numpy",), methods="exact")
        >>> [(check.quantity, check.passed) for check in report.checks][:2]
        [('output, 12 entries', True), ('gradients, 119 entries', True)]
    """

    spec: Spec | Stage
    checks: tuple[Check, ...]
    remarks: tuple[str, ...] = ()
    seed: int = 0
    unchecked: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was compared, and every error is within its bound."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def __str__(self) -> str:
        held = sum(check.passed for check in self.checks)
        last = f"{held} of {len(self.checks)} comparisons hold" if self.checks else "nothing was compared"
        reasons = (f"{c.method}: {c.subject}, {c.quantity}: {c.reason}" for c in self.checks if c.reason)
        unchecked = (f"not checked: {what}" for what in self.unchecked)
        return "\n".join([_table(self.checks), fold(*reasons, *self.remarks, *unchecked, last)])

    def to_json(self) -> str:
        """The report as JSON text: specification, versions, seed, every check, and whether all hold."""
        data = {
            "passed": self.passed,
            "spec": spec_data(self.spec) if isinstance(self.spec, Spec) else repr(self.spec),
            "seed": self.seed,
            "versions": versions(),
            "remarks": list(self.remarks),
            "unchecked": list(self.unchecked),
            "checks": [
                {**asdict(check), "ratio": check.ratio, "passed": check.passed} for check in self.checks
            ],
        }
        return json.dumps(_finite(data), indent=2, ensure_ascii=False)


def _table(checks: Sequence[Check]) -> str:
    columns = ("method", "computed by", "quantity", "error", "bound", "ratio", "")
    rows = [(c.method, c.subject, c.quantity, *_figures(c), "pass" if c.passed else "FAIL") for c in checks]
    return table(columns, rows, text_columns=3)


def _figures(check: Check) -> tuple[str, str, str]:
    if check.method in ("proof", "coq") or check.reason:
        return "–", "–", "–"
    if check.method in ("exact", "capacity"):
        return f"{check.error:.0f}", "0", "–"
    if check.limit <= check.bound < inf:
        return f"{check.error:.1e}", "–", "–"
    ratio = f"{check.ratio:.3f}" if check.ratio < 1000 else f"{check.ratio:.0e}"
    return f"{check.error:.1e}", f"{check.bound:.1e}", ratio


def _finite(data: Any) -> Any:
    """The data with infinities and NaN, which JSON does not have, as text."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not abs(data) < float("inf"):
        return str(data)
    return data

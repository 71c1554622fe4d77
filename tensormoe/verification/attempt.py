"""What is raised inside a verification becomes a failed check that names method, subject and step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import nan

from .report import Check


class StepError(Exception):
    """A step of a verification that could not be done.

    Attributes:
        check: the failed check that stands for it in the report.

    Examples:
        >>> from tensormoe.verification.attempt import guard, step
        >>> def compare():
        ...     with step("float", "torch float32", "output"):
        ...         raise ValueError("no products today")
        ...     yield
        >>> [(check.subject, check.reason) for check in guard("float", compare())]
        [('torch float32', 'ValueError: no products today')]
    """

    def __init__(self, check: Check) -> None:
        super().__init__(check.reason)
        self.check = check


@contextmanager
def step(method: str, subject: str, quantity: str) -> Iterator[None]:
    """Name the step in which something is raised."""
    try:
        yield
    except StepError:
        raise
    except Exception as error:
        raise StepError(_failure(method, subject, quantity, error)) from error


def guard(method: str, checks: Iterable[Check], subject: str = "verification") -> Iterator[Check]:
    """The checks, up to a failed one in place of what is raised between them."""
    try:
        yield from checks
    except StepError as error:
        yield error.check
    except Exception as error:
        yield _failure(method, subject, "preparation", error)


def _failure(method: str, subject: str, quantity: str, error: Exception) -> Check:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return Check(method, subject, quantity, nan, 0.0, reason=reason)

"""Calls over processes or machines, by joblib where it is asked for."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..errors import TensorMoEError

# More processes than any machine has cores are a slip.
_MOST = 1024

Given = TypeVar("Given")
Result = TypeVar("Result")


def each_result(
    call: Callable[[Given], Result], given: Iterable[Given], jobs: int | None
) -> Iterator[Result]:
    """The results of calls, as they are known, in any order.

    Args:
        call: a function; joblib pickles it.
        given: what it is called with.
        jobs: 1 for this process; otherwise as joblib's `n_jobs`: -1 for all cores, None for what
            `joblib.parallel_config` says, such as Dask or Ray.
    """
    if jobs == 1:
        yield from map(call, given)
        return
    try:
        import joblib
    except ImportError as error:
        remedy = 'pass jobs=1, or install joblib: pip install "tensormoe[explore]"'
        raise TensorMoEError("jobs", jobs, remedy) from error
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(joblib.delayed(call)(each) for each in given)


def check_jobs(jobs: object) -> int | None:
    """Return a number of processes, or raise the error for anything else."""
    if jobs is None:
        return None
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs == 0:
        raise TensorMoEError("jobs", jobs, "pass a positive integer, -1 for all cores, or None")
    if abs(jobs) > _MOST:
        raise TensorMoEError("jobs", jobs, f"pass at most {_MOST:,} processes")
    return jobs

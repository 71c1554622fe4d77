"""Calls over processes or machines, by joblib where it is asked for."""

import operator
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process
from pickle import PicklingError
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

    Raises:
        TensorMoEError: a process that was killed, or a call that no other process can make.
    """
    if jobs == 1:
        yield from map(call, given)
        return
    import joblib

    calls = [joblib.delayed(_work)(call, each) for each in given]
    if not calls:
        return
    try:
        parallel, size = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered"), len(calls)
    except ValueError:  # Ray's backend returns lists alone
        parallel, size = joblib.Parallel(n_jobs=jobs), joblib.effective_n_jobs(jobs)
    try:
        with warnings.catch_warnings(), parallel:
            # Who stops in the middle, as by Ctrl-C, knows it.
            warnings.filterwarnings("ignore", r"\d+ tasks which were still", UserWarning)
            for start in range(0, len(calls), size):
                yield from parallel(calls[start : start + size])
    except BrokenProcessPool as error:
        remedy = (
            "one of them was killed, perhaps for lack of memory: use fewer; what a file keeps stays there"
        )
        raise TensorMoEError("processes", jobs, remedy) from error
    except PicklingError as error:
        remedy = f"the task cannot be sent to other processes ({error}): use this one alone"
        raise TensorMoEError("processes", jobs, remedy) from error


def _work(call: Callable[[Given], Result], given: Given) -> Result:
    """Call it; in a process of joblib's own, Ctrl-C is for the one that began it, which ends this one."""
    if current_process().name.startswith("LokyProcess"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return call(given)


def check_jobs(argument: str, jobs: object) -> int | None:
    """Return a number of processes, or raise the error that names `argument`."""
    if jobs is None:
        _check_joblib(argument, jobs)
        return None
    try:
        count = 0 if isinstance(jobs, bool) else operator.index(jobs)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if not count:
        raise TensorMoEError(argument, jobs, "pass a positive integer, -1 for all cores, or None")
    if abs(count) > _MOST:
        raise TensorMoEError(argument, jobs, f"pass at most {_MOST:,} processes")
    if count != 1:
        _check_joblib(argument, jobs)
    return count


def _check_joblib(argument: str, jobs: object) -> None:
    try:
        import joblib  # noqa: F401
    except ImportError as error:
        remedy = f'pass {argument}=1, or install joblib: pip install "tensormoe[explore]"'
        raise TensorMoEError(argument, jobs, remedy) from error

"""Named tests, run on the library with a fault in it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tensormoe.codec import Registered

Patch = Callable[[pytest.MonkeyPatch], None]

TESTS = Path(__file__).parents[1]


def failures(patch: Patch, test: str, forget: Callable[[], None]) -> list[str]:
    """The first test that fails with a fault, of those that a name means: "gates/test_gate.py::test_a".

    pytest runs them within this process: importing the frameworks anew would take longer than the tests. The
    file of the tests is imported anew: nothing that it computed without the fault is used, and nothing that
    it computes with it is kept.

    Args:
        patch: injects the fault, once the tests are there.
        test: a file below `tests/`, a test in it, or one case of that.
        forget: empties the library's own caches.
    """
    run = _Run(patch, forget)
    options = ["-q", "-s", "--no-header", "--no-summary", "--tb=no", "-p", "no:cacheprovider"]
    # It collects garbage five times a run, which takes seconds in a process that holds as much as this one.
    options += ["-p", "no:unraisableexception", "--exitfirst"]
    with _as_if_new(test.partition("::")[0]), _first_failure():
        status = pytest.main([*options, f"{TESTS / test}"], plugins=[run])
    if run.error is not None:
        raise run.error
    assert run.count, f"there is no test {test} (pytest's status is {status})"
    return run.failed


class _Run:
    """A plugin of pytest: the fault is there while tests run, and no longer."""

    def __init__(self, patch: Patch, forget: Callable[[], None]) -> None:
        self.patch, self.forget = patch, forget
        self.count, self.failed = 0, list[str]()
        # pytest would only print it.
        self.error: Exception | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Iterator[None]:
        self.forget()
        try:
            with pytest.MonkeyPatch.context() as monkeypatch:
                self._inject(monkeypatch)
                return (yield)
        finally:
            self.forget()

    def _inject(self, monkeypatch: pytest.MonkeyPatch) -> None:
        try:
            self.patch(monkeypatch)
        except Exception as error:
            self.error = error
            raise

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += report.when == "call" or report.failed
        if report.failed:
            self.failed.append(report.nodeid)


@contextmanager
def _first_failure() -> Iterator[None]:
    """Hypothesis searches as ever, but the first failure is enough and is not made simpler."""
    usual = settings.get_current_profile_name()
    search = [phase for phase in settings().phases if phase not in (Phase.shrink, Phase.explain)]
    settings.register_profile("first failure", settings(), phases=search, report_multiple_bugs=False)
    settings.load_profile("first failure")
    try:
        yield
    finally:
        settings.load_profile(usual)


@contextmanager
def _as_if_new(path: str) -> Iterator[None]:
    """Forget the module of a file of tests, and afterwards what it has registered."""
    name = ".".join(["tests", *Path(path).with_suffix("").parts])
    own = sys.modules.pop(name, None)
    registries = {kind: dict(kind._registry) for kind in Registered.__subclasses__()}
    try:
        yield
    finally:
        sys.modules.pop(name, None)
        if own is not None:
            sys.modules[name] = own
        for kind, registry in registries.items():
            kind._registry = registry

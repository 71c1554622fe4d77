"""What every test meets: Hypothesis's profile, one thread, and the frameworks that are there."""

import os
import re
from collections.abc import Generator
from importlib import import_module
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from support import frameworks, quick_xla

frameworks.leave_out()

# Tables are as wide as they are, whatever terminal the tests are started from.
os.environ.pop("COLUMNS", None)

# Workers, and processes that tests start, compile for JAX only what none of them has compiled before.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = TemporaryDirectory(prefix="tensormoe-jax-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
quick_xla.choose()

from tensormoe.testing import register_profiles  # noqa: E402

# Longer searches are the profile deep's: all checks are to take less than half an hour on two cores.
register_profiles(default=40)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    for name in frameworks.BACKENDS:
        try:
            import_module(name)
        except ImportError as error:
            raise pytest.UsageError(f"TENSORMOE_TEST_BACKENDS names {name!r}: {error}") from error
    if "torch" in frameworks.BACKENDS:
        # Workers run side by side; one thread each keeps them out of each other's way.
        torch = import_module("torch")
        torch.set_num_threads(1)
        # TENSORMOE_TEST_DEVICE=cuda moves what the tests of all backends make to a GPU.
        if device := os.environ.get("TENSORMOE_TEST_DEVICE"):
            torch.set_default_device(device)


def pytest_report_header() -> str:
    return f"backends: {', '.join(frameworks.BACKENDS)}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that imports a framework which is left out is skipped."""
    report = yield
    packages = "|".join(frameworks.MISSING) or "$^"
    missing = re.search(rf"No module named '({packages})\b", str(report.longrepr))
    if report.failed and missing:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: needs {missing[1]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that asks for a framework which is left out is skipped from there on."""
    try:
        return (yield)
    except Exception as error:
        if package := frameworks.lacks(error):
            pytest.skip(f"needs {package}")
        raise

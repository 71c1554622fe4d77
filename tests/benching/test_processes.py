"""What a process holds in memory, as `python -m benchmarks` measures it."""

import pytest

from benchmarks.processes import MEMORY_IS_MEASURED, output_of, peak

if not MEMORY_IS_MEASURED:
    pytest.skip("Linux alone tells what a process held at most", allow_module_level=True)

LARGE = 2**27
# The peak with an array, and the one from when it is gone.
PROGRAM = f"""
from benchmarks.processes import forget_peak, peak, resident
before = resident()
array = bytes([1]) * {LARGE}
del array
print(peak() - before)
forget_peak()
print(peak() - before)
"""


def test_a_peak_is_the_processs_own_and_not_that_of_the_one_which_started_it() -> None:
    large = bytes([1]) * LARGE
    del large
    assert int(output_of("from benchmarks.processes import peak; print(peak())")) < LARGE / 2 < peak()


def test_a_peak_counts_what_has_been_freed_until_it_is_forgotten() -> None:
    first, second = map(int, output_of(PROGRAM).split())
    assert second < LARGE / 10 < 0.99 * LARGE < first < 1.1 * LARGE


def test_a_program_has_the_environment_that_it_is_given() -> None:
    program = "import os; print(os.environ['COLOUR'])"
    assert output_of(program, {"COLOUR": "blue"}) == "blue\n"

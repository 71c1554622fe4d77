"""Coq, where it is installed: without it, tests that need it are skipped.

TENSORMOE_TEST_COQ=1 says that it must be there: then nothing is skipped in silence; without it tests fail.
"""

import os
from shutil import which

import pytest

needs_coq = pytest.mark.skipif(
    which("coqc") is None and not os.environ.get("TENSORMOE_TEST_COQ"),
    reason="needs coqc: `make coq` installs Coq",
)

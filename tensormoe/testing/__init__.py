"""Hypothesis strategies and assertions, for tests of your own factorizations, backends and gates.

    from hypothesis import given
    from tensormoe.testing import assert_equivalent, specs

    @given(specs(factorization=st.builds(MyFamily, rank=st.integers(1, 4))))
    def test_my_family(spec):
        assert_equivalent(spec)

It needs `hypothesis`, which comes with `pip install "tensormoe[testing]"`.
"""

from ..verification import Inputs
from .conformance import check_backend
from .equivalence import assert_equivalent
from .layers import blocks, gates, inputs_for, specs
from .strategies import factorizations, networks, register_profiles, split_networks, sums

__all__ = [
    "Inputs",
    "assert_equivalent",
    "blocks",
    "check_backend",
    "factorizations",
    "gates",
    "inputs_for",
    "networks",
    "register_profiles",
    "specs",
    "split_networks",
    "sums",
]

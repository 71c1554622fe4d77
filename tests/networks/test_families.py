from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from support.strategies import BACKENDS

import tensormoe as tm

EXPERTS = (7, 5, 3, 2)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_shapes_follow_the_notation_and_cores_are_called_by_their_role(levels: int) -> None:
    experts = EXPERTS[:levels]
    names = [f"expert{e}" for e in range(1, levels + 1)]
    dims = [*experts, 12, 9]
    ranks = (2, 3, 4, 5, 6, 8)[: levels + 2]

    def shapes(factorization: tm.Factorization) -> dict:
        return tm.MuMoESpec(11, 9, experts, factorization).network.shapes

    keys = [*names, "input", "output"]
    *before, out = dims
    assert shapes(tm.CP(4)) == dict(zip(keys, [*((d, 4) for d in before), (4, out)], strict=True))
    factors = [*zip(before, ranks, strict=False), (ranks[-1], out)]
    core = (ranks[-2], *ranks[:levels], ranks[-1])
    assert shapes(tm.Tucker(ranks)) == {**dict(zip(keys, factors, strict=True)), "core": core}
    ring = [*zip(before, ranks, ranks[1:], strict=False), (ranks[0], ranks[-1], out)]
    assert shapes(tm.TensorRing(ranks)) == dict(zip(keys, ring, strict=True))
    inner = ranks[1:]
    train = [*zip(before, (1, *inner), inner, strict=False), (1, inner[-1], out)]
    assert shapes(tm.TensorTrain(inner)) == dict(zip(keys, train, strict=True))
    assert shapes(tm.Dense()) == {"core1": tuple(dims)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.CP(0), "CP rank: received 0"),
        (lambda: tm.CP(-1), "positive integer"),
        (lambda: tm.CP(1.5), "positive integer"),
        (lambda: tm.CP("8"), "positive integer"),
        (lambda: tm.Tucker((2, 0, 3)), "Tucker ranks"),
        (lambda: tm.MuMoESpec(4, 4, 3, tm.Tucker((2, 2))), "takes 3 rank"),
        (lambda: tm.Tucker(2), "Tucker ranks: received 2; pass a tuple"),
        (lambda: tm.TensorTrain(3), "TensorTrain ranks: received 3; pass a tuple"),
        (lambda: tm.MuMoESpec(4, 4, (3, 2), tm.TensorRing((2, 2, 2))), "takes 4 rank"),
        (lambda: tm.MuMoESpec(4, 4, 3, tm.TensorTrain((2, 2, 2))), "takes 2 rank"),
        (lambda: tm.CP((2, 2)), "this is one integer"),
    ],
)
def test_unfit_ranks_are_refused(make, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()


def test_a_new_family_is_a_few_lines_and_no_change_to_the_library() -> None:
    @dataclass(frozen=True)
    class SharedDown(tm.Factorization):
        rank: int

        def notation(self, levels: int) -> str:
            return f"i r, {' '.join(tm.expert_modes(levels))} r o"

    spec = tm.MuMoESpec(7, 6, (4, 3), SharedDown(rank=5))
    assert spec.network.shapes == {"core1": (8, 5), "core2": (4, 3, 5, 6)}
    assert tm.verify(spec, BACKENDS).passed
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec
    assert spec.matched(parameters=1000).num_parameters <= 1000
    assert "soft MoE" in str(spec.plan())
    assert tm.build(spec, "torch").materialize().shape == (4, 3, 8, 6)


def test_further_families_take_several_kinds_of_fields() -> None:
    @dataclass(frozen=True)
    class BlockTerm(tm.Factorization):
        groups: int
        ranks: tuple[int, ...]

        def notation(self, levels: int) -> str:
            return "g n p, g i q, g o s, g p q s"

    spec = tm.MuMoESpec(7, 6, 4, BlockTerm(groups=2, ranks=(3, 4, 5)))
    assert dict(spec.network.bonds) == {"g": 2, "p": 3, "q": 4, "s": 5}
    grown = spec.matched(parameters=2000, bond="q").factorization
    assert isinstance(grown, BlockTerm)
    assert (grown.groups, grown.ranks[0], grown.ranks[2]) == (2, 3, 5)
    assert grown.ranks[1] > 4


def test_arrays_of_ranks_are_welcome_and_other_kinds_are_not() -> None:
    assert tm.Tucker(np.array([2, 3, 3])) == tm.Tucker((2, 3, 3))
    assert tm.CP(np.array(8)) == tm.CP(np.int64(8)) == tm.CP(8)
    assert tm.MuMoESpec(4, 4, np.array([3, 2]), tm.CP(2)).experts == (3, 2)
    for rank in (int, None, np.array(8.0), np.array([[2]]), "2", -(10**5000)):
        with pytest.raises(tm.TensorMoEError, match="CP rank") as caught:
            tm.CP(rank)
        assert "positive integer" in str(caught.value)


def test_a_family_cannot_take_a_built_in_ones_name() -> None:
    with pytest.raises(tm.TensorMoEError, match="class name: received 'CP'"):

        class CP(tm.Factorization):
            def notation(self, levels: int) -> str:
                return "n o, i o"

    spec = tm.MuMoESpec(4, 4, 3, tm.CP(2))
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec


def test_matching_refuses_families_that_cannot_grow() -> None:
    @dataclass(frozen=True)
    class Stubborn(tm.Factorization):
        rank: int

        def notation(self, levels: int) -> str:
            return "n r, i r, o r"

        def bonds(self, levels: int) -> dict[str, int]:
            return {"r": 3}

    @dataclass(frozen=True)
    class Undecided(tm.CP):
        def growing_bonds(self, levels: int) -> tuple[str, ...]:
            return ()

    with pytest.raises(tm.TensorMoEError, match="with_bonds"):
        tm.MuMoESpec(4, 4, 3, Stubborn(2)).matched(parameters=1000)
    with pytest.raises(tm.TensorMoEError, match="growing_bonds is empty"):
        tm.MuMoESpec(4, 4, 3, Undecided(2)).matched(parameters=1000)
    assert tm.MuMoESpec(4, 4, 3, Undecided(2)).matched(parameters=1000, bond="r").num_parameters <= 1000


def test_fields_called_like_bonds_must_stand_in_their_order() -> None:
    @dataclass(frozen=True)
    class Exchanged(tm.Factorization):
        s: int
        r: int

        def notation(self, levels: int) -> str:
            return "n r, i r s, s o"

    with pytest.raises(
        tm.TensorMoEError, match=r"Exchanged s: received 3; it would set the size of bond 'r'"
    ):
        tm.MuMoESpec(5, 6, 4, Exchanged(s=3, r=2))

    @dataclass(frozen=True)
    class ByName(Exchanged):
        def bonds(self, levels: int) -> dict[str, int]:
            return {"r": self.r, "s": self.s}

        def with_bonds(self, bonds: Mapping[str, int]) -> "ByName":
            return ByName(s=bonds["s"], r=bonds["r"])

    spec = tm.MuMoESpec(5, 6, 4, ByName(s=3, r=2))
    assert spec.network.shapes == {"expert1": (4, 2), "input": (6, 2, 3), "output": (3, 6)}
    assert spec.matched(parameters=500).factorization.r == 2


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_canonical_order_is_tensorlys(levels: int) -> None:
    ranks = tuple(range(2, levels + 4))
    canonical = {
        tm.CP(4): {1: "n r, i r, o r", 2: "n1 r, n2 r, i r, o r"},
        tm.Tucker(ranks): {1: "n p, i q, o s, p q s", 2: "n1 p1, n2 p2, i q, o s, p1 p2 q s"},
        tm.TensorRing(ranks): {1: "r1 n r2, r2 i r3, r3 o r1", 2: "r1 n1 r2, r2 n2 r3, r3 i r4, r4 o r1"},
        tm.Dense(): {1: "n i o", 2: "n1 n2 i o", 3: "n1 n2 n3 i o"},
    }
    for family, notations in canonical.items():
        order = family.canonical(levels)
        network = family.network((4, 3, 2)[:levels], 5, 6)
        assert str(order) == notations.get(levels, str(order))
        assert [sorted(core) for core in order.cores] == [sorted(core.indices) for core in network.cores]


def test_families_of_one_name_are_never_taken_for_each_other() -> None:
    """Two definitions under one name: JSON knows the later one, and refuses to write the earlier."""

    def define(text: str) -> type[tm.Factorization]:
        @dataclass(frozen=True)
        class OneOfTwo(tm.Factorization):
            rank: int

            def notation(self, levels: int) -> str:
                return text

        return OneOfTwo

    first, second = define("n r, i r, o r"), define("n i r, r o")
    spec = tm.MuMoESpec(4, 3, 2, second(2))
    assert tm.spec_from_json(spec.to_json()) == spec
    with pytest.raises(tm.TensorMoEError, match="another class named 'OneOfTwo' was defined since"):
        spec.replace(factorization=first(2)).to_json()


@pytest.mark.parametrize("sizes", [{"r": 2, "s": 3}, {"r": 1, "s": 2}])
def test_a_bond_that_dangles_from_one_core_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(tm.TensorMoEError, match="bond 's' is in core 3 only and joins nothing"):
        tm.MuMoESpec(4, 3, 2, tm.TensorNetwork("n r, i r, o s", **sizes))
    # Of size 1 it changes nothing; matching would grow it.
    harmless = tm.MuMoESpec(4, 3, 2, tm.TensorNetwork("n r, i r, o s", r=2, s=1))
    with pytest.raises(tm.TensorMoEError, match="joins nothing"):
        harmless.matched(parameters=1000)


def test_counts_of_experts_are_levels_and_not_layers() -> None:
    with pytest.raises(tm.TensorMoEError, match="each count in experts is a level"):
        tm.MuMoEBlockSpec(4, 5, 3, (8, 16), tm.TensorTrain((2, 2)))

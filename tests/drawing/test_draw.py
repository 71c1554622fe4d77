"""What a drawn network shows is read back from its artists, and compared with its notation."""

import re
from collections import Counter
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import tensormoe as tm
from tensormoe.networks.notation import is_mode
from tensormoe.testing import specs

EXPERT, READS, WRITES, INNER = "#ee6677", "#4477aa", "#228833", "#bbbbbb"


def circles(figure: Figure) -> list[list[Circle]]:
    """Those of cores, for each row."""
    return [
        [each for each in axis.patches if isinstance(each, Circle) and each.radius > 0.1]
        for axis in figure.axes
    ]


def places(figure: Figure, row: int = 0) -> dict[str, np.ndarray]:
    """Where each text stands."""
    return {text.get_text(): np.array(text.get_position()) for text in figure.axes[row].texts}


def carriers(network: tm.Network) -> list[tuple[str, int]]:
    """Each index of each term, with the number of cores that carry it."""
    return [
        (index, sum(index in core.indices for core in term.cores))
        for term in network.terms
        for index in dict.fromkeys(index for core in term.cores for index in core.indices)
    ]


@settings(max_examples=25)
@given(specs(max_levels=4))
def test_every_core_is_a_circle_and_every_index_its_lines(spec: tm.MuMoESpec) -> None:
    figure = tm.draw(spec)
    network = spec.network
    assert len(circles(figure)[0]) == len(network.cores)
    expected = sum(
        1 if count == 1 or (count == 2 and not is_mode(index)) else count + is_mode(index)
        for index, count in carriers(network)
    )
    assert len(figure.axes[0].lines) == expected
    labels = Counter(text.get_text() for text in figure.axes[0].texts)
    for index, uses in Counter(index for index, _ in carriers(network)).items():
        assert labels[f"{index} = {network.sizes[index]:,}"] == uses
    assert labels["+"] == len(network.terms) - 1


@settings(max_examples=25)
@given(specs(max_levels=6))
def test_circles_lie_apart_and_within_the_picture(spec: tm.MuMoESpec) -> None:
    figure = tm.draw(spec)
    axis, (cores,) = figure.axes[0], circles(figure)
    for a, b in combinations(cores, 2):
        assert np.hypot(*np.subtract(a.center, b.center)) > 2 * a.radius
    for core in cores:
        assert axis.get_xlim()[0] < core.center[0] < axis.get_xlim()[1]
        assert axis.get_ylim()[0] < core.center[1] < axis.get_ylim()[1]


@pytest.mark.parametrize("levels", [1, 3, 18])
@pytest.mark.parametrize("name", ["CP", "ring"])
def test_twenty_cores_stay_apart_and_labels_do_not_cover_each_other(name: str, levels: int) -> None:
    figure = tm.draw(tm.CP(4) if name == "CP" else tm.TensorRing((4,) * (levels + 2)), levels=levels)
    assert len(circles(figure)[0]) == levels + 2
    figure.canvas.draw()  # type: ignore[no-untyped-call, unused-ignore]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


@st.composite
def notations(draw: st.DrawFn) -> str:
    """Networks of up to 12 cores: a path through all of them, and bonds of any two or three."""
    cores = [["n"], ["i"], ["o"], *([] for _ in range(draw(st.integers(0, 9))))]
    order = draw(st.permutations(range(len(cores))))
    some = st.sets(st.integers(0, len(cores) - 1), min_size=2, max_size=3)
    bonds = [*pairwise(order), *draw(st.lists(some, max_size=len(cores) // 2))]
    for number, carriers in enumerate(bonds):
        for core in carriers:
            cores[core].append(f"b{number}")
    return ", ".join(map(" ".join, cores))


@settings(max_examples=25)
@given(notations())
@example("n b2 b3 b6 b7, i b3 b4 b6 b7 b8, o b0 b1, b1 b2 b8, b4 b5 b8, b5, b0 b6")
@example("n b6 b7, i b1 b2 b9, o b5 b6 b8, b3 b4 b8, b4 b5 b9, b2 b3, b7, b0 b8, b0 b1")
def test_no_line_runs_through_a_core_that_it_does_not_join(notation: str) -> None:
    """It would seem to end there."""
    figure = tm.draw(notation)
    (cores,) = circles(figure)
    for line in figure.axes[0].lines:
        path = np.asarray(line.get_xydata())
        for core in cores:
            away = np.hypot(*(path - core.center).T)
            joined = min(away[0], away[-1]) < 1e-9
            assert joined or away.min() > core.radius, notation


@pytest.mark.parametrize("name", ["Tucker", "BTT", "grid"])
def test_names_of_bonds_stand_beside_cores(name: str) -> None:
    grid = (
        "n1 a1 b1, a1 a2 b2, a2 a3 b3, a3 a4 b4, a4 b5 n2, b1 c1 d1, b2 c1 c2 d2, b3 c2 c3 d3, b4 c3 c4 d4, "
        "b5 c4 d5, d1 e1 f1, d2 e1 e2 f2, d3 e2 e3 f3, d4 e3 e4 f4, d5 e4 f5, i f1 g1, f2 g1 g2, f3 g2 g3, "
        "f4 g3 g4, f5 g4 o"
    )
    drawn = {"Tucker": tm.Tucker((2,) * 8), "BTT": tm.BTT(i=(16, 16), o=(16, 16), rank=4), "grid": grid}
    figure = tm.draw(drawn[name], levels=6 if name == "Tucker" else None)
    figure.canvas.draw()  # type: ignore[no-untyped-call, unused-ignore]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    cores = [core.get_window_extent() for core in circles(figure)[0]]
    assert not [(a, b) for a in boxes for b in cores if a.overlaps(b)]
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize(
    "factorization", [tm.CP(4), tm.Tucker((2, 3, 4)), tm.TensorRing((2, 2, 2)), tm.Dense()]
)
def test_inputs_are_left_of_outputs_on_one_height_and_experts_above(factorization: tm.Factorization) -> None:
    at = places(tm.draw(factorization))
    assert at["i"][0] < at["o"][0] - 0.5
    assert at["i"][1] == pytest.approx(at["o"][1], abs=0.05)
    assert at["n"][1] > at["i"][1] + 0.3


def test_colours_say_what_a_core_carries() -> None:
    from matplotlib.colors import to_hex

    (cores,) = circles(tm.draw(tm.Tucker((2, 3, 4))))
    assert [to_hex(core.get_facecolor()) for core in cores] == [EXPERT, READS, WRITES, INNER]
    (cores,) = circles(tm.draw("n o, i o"))
    assert [to_hex(core.get_facecolor()) for core in cores] == [EXPERT, INNER]


def test_only_cores_that_are_used_again_show_their_name() -> None:
    shown = [text.get_text() for text in tm.draw("n r, A: i r, A: o r").axes[0].texts]
    assert sorted(shown) == ["A", "A", "i", "n", "o", "r"]
    assert "B" not in places(tm.draw("n r, B: i r, r o"))


def test_bonds_between_the_same_two_cores_bow_apart() -> None:
    lines = [line.get_xydata() for line in tm.draw("n r s, i r s o").axes[0].lines]
    middles = [np.asarray(line)[12] for line in lines if len(line) == 25]
    assert len(lines) == 5
    assert min(np.hypot(*(a - b)) for a, b in combinations(middles, 2)) > 0.15


def test_a_bond_of_size_one_is_dotted() -> None:
    styles = [line.get_linestyle() for line in tm.draw(tm.TensorTrain((4, 4))).axes[0].lines]
    assert Counter(styles) == {":": 1, "-": 5}


def test_a_notation_has_the_levels_that_it_names() -> None:
    assert {"n1", "n2", "n3"} <= {*places(tm.draw("n1 r, n2 r, n3 r, i r, r o"))}
    assert {"n1", "n2"} <= {*places(tm.draw(tm.TensorNetwork("n1 r, n2 r, i r, r o", r=2)))}
    assert "n" in places(tm.draw(tm.CP(2)))
    assert {*places(tm.draw("i r, r o"))} == {"i", "r", "o"}
    assert {"n1", "n2"} <= {*places(tm.draw("n r, i r, r o", levels=2))}


def test_parts_of_modes_end_where_their_modes_do() -> None:
    for what in ("n i1 o1, n i2 o2", tm.Kronecker(i=(2, 3), o=(4, 5))):
        at = {name.split(" =")[0]: place for name, place in places(tm.draw(what)).items()}
        assert at["i1"][0] + at["i2"][0] < at["o1"][0] + at["o2"][0]
        assert {"n", "i1", "i2", "o1", "o2"} <= {*at}
    spec = tm.MuMoESpec(6, 20, 8, tm.Kronecker(i=(2, 3), o=(4, 5)))
    assert {"i1 = 2", "i2 = 3", "o1 = 4", "o2 = 5", "n = 8", "+"} <= {*places(tm.draw(spec))}
    groups = tm.TensorNetwork("n1 i r, n1 n2 r o", n=(4, 2), r=3)
    assert {"n1 = 4", "n2 = 2", "r = 3"} <= {*places(tm.draw(groups))}


def test_fixed_cores_are_hollow_and_show_their_name() -> None:
    network = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
    for what in (network, tm.MuMoESpec(8, 6, 5, network, bias=False)):
        figure = tm.draw(what)
        (cores,) = circles(figure)
        assert [each.get_facecolor() == (1.0, 1.0, 1.0, 1.0) for each in cores] == [True, False, False]
        assert "H" in places(figure)


def test_a_block_has_a_row_for_each_layer() -> None:
    block = tm.MuMoEBlockSpec(5, 7, 6, 3, tm.CP(4))
    figure = tm.draw(block)
    assert [len(row) for row in circles(figure)] == [3, 3]
    assert {"i = 6", "o = 7"} <= {*places(figure, 0)}
    assert {"i = 8", "o = 6"} <= {*places(figure, 1)}
    assert len(circles(tm.draw(block.replace(gated=True)))) == 3


def test_the_heading_is_the_notation_in_lines_that_break_between_cores() -> None:
    figure = tm.draw(tm.TensorRing((4,) * 20), levels=18)
    lines = figure.get_suptitle().splitlines()
    assert len(lines) > 1
    assert " ".join(lines) == str(tm.MuMoESpec(2, 2, (2,) * 18, tm.TensorRing((4,) * 20)).network)
    assert all(line.endswith(",") for line in lines[:-1])
    long = tm.draw(tm.Tucker((2,) * 20), levels=18).get_suptitle().splitlines()
    assert " ".join(long) == str(tm.Tucker((2,) * 20).notation(18))
    assert tm.draw("i o + n r, i r, r o").get_suptitle() == "i o + n r, i r, r o"
    assert tm.draw("n i o", title="any $x^{$").get_suptitle() == "any $x^{$"


def test_the_same_network_always_looks_the_same() -> None:
    def drawn() -> list[Any]:
        figure = tm.draw("g n p, g i q, g s o, g q p s")
        return [text.get_position() for text in figure.axes[0].texts]

    assert drawn() == drawn()


@pytest.mark.parametrize(
    ("what", "options", "text"),
    [
        (3, {}, 'what: received 3; pass notation such as "n r, i r, r o"'),
        ("n r, i r", {}, "mode 'o' is in no core"),
        ("n r, i r, r o", {"levels": -1}, "levels: received -1"),
        ("n1 r, n2 r, i r, r o", {"levels": 1}, "mode 'n2' belongs to no expert level"),
        ("n i o", {"title": 3}, "title: received 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(what: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=re.escape(text)):
        tm.draw(what, **options)


@pytest.mark.parametrize("missing", ["networkx", "matplotlib.figure"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(tm.TensorMoEError, match=r'pip install "tensormoe\[pictures\]"'):
        tm.draw("n i o")

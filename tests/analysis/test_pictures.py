"""What pictures show is read back from their artists, and compared with what was passed."""

import os
import subprocess
import sys
from io import BytesIO
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform
from scipy.stats import t

import tensormoe as tm
from tensormoe.analysis import (
    draw_ablations,
    draw_class_means,
    draw_hierarchy,
    draw_images,
    draw_model,
    draw_polysemanticity,
    draw_similarity,
    draw_spectra,
    draw_usage,
)

DRAWS = np.random.default_rng(0)


def coefficients_of(experts: int, inputs: int = 200) -> np.ndarray:
    """Sparse ones, of which a quarter of the experts gets none."""
    a = DRAWS.dirichlet(np.full(experts, 0.1), inputs)
    a[:, : experts // 4] = 0
    return a


def cosines_of(experts: int) -> np.ndarray:
    rows = DRAWS.normal(size=(3, 20))[DRAWS.integers(0, 3, experts)] + 0.6 * DRAWS.normal(size=(experts, 20))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((rows @ rows.T).clip(-1, 1))


def changes_of(experts: int) -> np.ndarray:
    """Changes of ten classes, which every fourth expert does not make."""
    changes = DRAWS.normal(0, 0.1, (experts, 10)).clip(-1, 1)
    changes[::4] = 0
    return changes


def recording_of(experts: int) -> tm.analysis.Recording:
    with tm.analysis.recording() as recording:
        recording.add("first of $_{$", [coefficients_of(experts)])
        recording.add("second", [coefficients_of(3) + 0.01, coefficients_of(experts)])
    return recording


def every_picture(experts: int) -> dict[str, Figure]:
    a = coefficients_of(experts)
    return {
        "class means": draw_class_means(a[:10], [f"class {n}" for n in range(10)], title="$x^{$"),
        "usage": draw_usage(tm.analysis.load(a), tm.analysis.usage(a)),
        "polysemanticity": draw_polysemanticity([4, 64, experts + 1], DRAWS.random((3, 4))),
        "similarity": draw_similarity(cosines_of(experts)),
        "images": draw_images(DRAWS.random((200, 5, 5)), a, k=5),
        "model": draw_model(recording_of(experts)),
        "ablations": draw_ablations(changes_of(experts), [f"class {n}" for n in range(10)]),
        "hierarchy": draw_hierarchy(np.vstack([a[:10], np.full(experts, np.nan)])),
        "spectra": draw_spectra(DRAWS.random((6, experts)), np.arange(6) * experts),
    }


def ticks(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def save(figure: Figure) -> bytes:
    with BytesIO() as file:
        figure.savefig(file, dpi=50)
        return file.getvalue()


@pytest.mark.parametrize("experts", [4, 64, 512])
def test_every_picture_can_be_read(experts: int) -> None:
    """No labels of an axis lie on each other, no text on another axis' text, and all of it in the figure."""
    for name, figure in every_picture(experts).items():
        assert save(figure).startswith(b"\x89PNG"), name
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes: list[Any] = []
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                shown = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
                assert len(shown) <= 64, name
                # Upright boxes of turned digits are loose: a sixth of their thickness may touch.
                own = [label.get_window_extent(renderer).shrunk(0.8, 0.8) for label in shown]
                assert not any(one.overlaps(other) for one, other in combinations(own, 2)), (name, axis)
                boxes += [axis.label] if axis.label.get_text() else []
            boxes += [each for each in (axes.title, axes._left_title, *axes.texts) if each.get_text()]
        extents = [each.get_window_extent(renderer) for each in boxes]
        assert not any(one.overlaps(other) for one, other in combinations(extents, 2)), name
        inside = figure.bbox.padded(2)
        assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in extents), name


def test_matplotlib_is_as_it_was() -> None:
    before = matplotlib.rcParams.copy(), {**_pylab_helpers.Gcf.figs}
    for figure in every_picture(5).values():
        save(figure)
    assert before == (matplotlib.rcParams.copy(), {**_pylab_helpers.Gcf.figs})


def test_matplotlib_is_imported_for_a_picture_and_pyplot_never() -> None:
    code = (
        "import io, sys, numpy, tensormoe as tm\n"
        "tm.analysis.draw_usage; assert 'matplotlib' not in sys.modules\n"
        "tm.analysis.draw_similarity(numpy.eye(3)).savefig(io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run([sys.executable, "-c", code], check=True, env=without)


def test_a_users_style_does_not_change_pictures() -> None:
    a = coefficients_of(4)[:3]
    plain = save(draw_class_means(a))
    with matplotlib.rc_context({"axes.grid": True, "figure.facecolor": "black", "axes.facecolor": "red"}):
        assert save(draw_class_means(a)) == plain


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(tm.TensorMoEError, match=r'pip install "tensormoe\[pictures\]"'):
        draw_class_means(np.ones((2, 3)))


def test_class_means_are_shown_with_the_experts_of_a_class_side_by_side() -> None:
    means = np.array([[0.1, 0.2, 0.0, 0.6], [np.nan] * 4, [0.5, 0.1, 0.0, 0.4]])
    figure = draw_class_means(means, ["cat $x$", "dog", "a\nbird"])
    axes = figure.axes[0]
    assert ticks(axes.xaxis) == ["3", "1", "0", "2"]
    assert ticks(axes.yaxis) == ["cat $x$", "dog", "a bird"]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(-1), [[0.6, 0.2, 0.1, 0.0], [-1] * 4, [0.4, 0.1, 0.5, 0.0]])
    assert axes.images[0].get_clim() == (0, 0.6)


def test_neighbours_share_a_column_where_experts_are_too_narrow() -> None:
    means = DRAWS.random((3, 1800))
    means[1] = np.nan
    shown = draw_class_means(means).axes[0].images[0].get_array()
    order = np.lexsort((-means[[0, 2]].max(axis=0), means[[0, 2]].argmax(axis=0)))
    np.testing.assert_allclose(shown[[0, 2]], means[[0, 2]][:, order].reshape(2, 900, 2).mean(axis=2))
    assert shown.mask.all(axis=1).tolist() == [False, True, False]


def test_many_classes_keep_every_second_name() -> None:
    assert len(ticks(draw_class_means(np.ones((90, 2))).axes[0].yaxis)) == 45


@pytest.mark.parametrize("experts", [4, 64, 512])
def test_loads_and_usages_descend_with_the_load(experts: int) -> None:
    a = coefficients_of(experts)
    upper, lower = draw_usage(tm.analysis.load(a), tm.analysis.usage(a, 0.25), threshold=0.25).axes
    load = a.sum(axis=0) / a.sum()
    order = sorted(range(experts), key=lambda n: (-load[n], n))
    step = 2 if experts <= 64 else 1
    for axes, expected in ((upper, load), (lower, (a >= 0.25).mean(axis=0))):
        np.testing.assert_allclose(axes.patches[0].get_data().values[::step], expected[order], rtol=1e-12)
    assert ticks(lower.xaxis) == ([str(n) for n in order] if experts <= 64 else [])
    assert lower.get_ylabel().endswith("≥ 0.25)")
    dead = experts // 4
    assert upper.texts[0].get_text() == f"{dead} dead of {experts}"
    span = upper.patches[1].get_extents().transformed(upper.transData.inverted())
    np.testing.assert_allclose((span.x0, span.x1), (experts - dead - 0.5, experts - 0.5))


def test_without_dead_experts_none_are_marked() -> None:
    upper, _ = draw_usage(np.array([0.25, 0.75]), np.zeros(2)).axes
    assert upper.texts[0].get_text() == "0 dead of 2"
    assert len(upper.patches) == 1


def test_intervals_of_polysemanticity_are_students() -> None:
    values = DRAWS.random((3, 5))
    axes = draw_polysemanticity(np.array([64, 4, 512]), values, confidence=0.9).axes[0]
    rows = values[[1, 0, 2]]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [4, 64, 512])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), rows.mean(axis=1))
    bars = axes.containers[0].lines[2][0].get_segments()
    for row, bar in zip(rows, bars, strict=True):
        expected = t.interval(0.9, 4, row.mean(), row.std(ddof=1) / np.sqrt(5))
        np.testing.assert_allclose(bar[:, 1], expected, rtol=1e-9)
    np.testing.assert_array_equal(axes.collections[0].get_offsets()[:, 1], rows.ravel())
    assert ticks(axes.xaxis) == ["4", "64", "512"]
    close = draw_polysemanticity([4, 500, 512, 1024], DRAWS.random((4, 2))).axes[0]
    assert ticks(close.xaxis) == ["4", "500", "1,024"]


def test_curves_stand_apart_and_have_their_names_beside_them() -> None:
    curves = {name: DRAWS.random((3, 2 + place)) for place, name in enumerate(["CP", "x" * 99, "$_{$"])}
    figure = draw_polysemanticity([64, 4, 512], curves, confidence=0.9)
    (axis,) = figure.axes
    places = []
    for drawn, table in zip(axis.containers, curves.values(), strict=True):
        rows, seeds = table[[1, 0, 2]], table.shape[1]
        line, bars = drawn.lines[0], drawn.lines[2][0].get_segments()
        np.testing.assert_allclose(line.get_ydata(), rows.mean(axis=1))
        for row, bar in zip(rows, bars, strict=True):
            spread = row.std(ddof=1) / np.sqrt(seeds)
            np.testing.assert_allclose(bar[:, 1], t.interval(0.9, seeds - 1, row.mean(), spread), rtol=1e-9)
        places.append(line.get_xdata())
    assert (np.diff(places, axis=0) > 0.3).all()
    np.testing.assert_allclose(places[1], [4, 64, 512])
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["CP", "x" * 39 + "…", "$_{$"]
    assert len({line.get_marker() for line in axis.lines[::3]}) == 3
    FigureCanvasAgg(figure).draw()
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())


@pytest.mark.parametrize("experts", [2, 9, 40])
def test_the_tree_is_scipys_and_the_matrix_has_its_order(experts: int) -> None:
    cosines = cosines_of(experts)
    upper, lower, _ = draw_similarity(cosines).axes
    linked = linkage(squareform(1 - cosines, checks=False).clip(0), "average", optimal_ordering=True)
    drawn = dendrogram(linked, no_plot=True, distance_sort=False)
    order = drawn["leaves"]
    assert ticks(lower.xaxis) == ticks(lower.yaxis) == [str(n) for n in order]
    np.testing.assert_array_equal(lower.images[0].get_array(), cosines[np.ix_(order, order)])
    # SciPy puts leaves at 5, 15, 25, ….
    expected = [
        np.column_stack([(np.array(x) - 5) / 10, y])
        for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True)
    ]
    ours = upper.collections[0].get_segments()
    key = lambda branch: (branch[1, 1], *branch[:, 0])  # noqa: E731
    np.testing.assert_allclose(sorted(ours, key=key), sorted(expected, key=key), atol=1e-9)


def test_a_deep_tree_is_drawn() -> None:
    """Each expert joins all before it: as deep as it has leaves."""
    count = 1500
    distance = np.maximum.outer(np.arange(count), np.arange(count)) / count
    np.fill_diagonal(distance, 0)
    assert len(draw_similarity(1 - distance).axes[0].collections[0].get_segments()) == count - 1


def test_the_images_with_the_largest_coefficients_are_shown() -> None:
    a = coefficients_of(8)
    a[:, 5] = np.where(np.arange(200) < 2, 0.001, 0)
    images = DRAWS.random((200, 4, 6))
    axes = draw_images(images, a.reshape(20, 10, 8), experts=[7, 5, 0], k=3).axes[0]
    expected = [(n, i) for n in (7, 5, 0) for i in np.argsort(-a[:, n], kind="stable")[:3] if a[i, n] > 0]
    assert len(expected) == 5
    assert len(axes.images) == 5
    for (_, number), image in zip(expected, axes.images, strict=True):
        np.testing.assert_array_equal(image.get_array(), images[number])
    written = [text.get_text() for text in axes.texts]
    assert written == [*(f"{a[i, 7]:.2f}" for _, i in expected[:3]), "1e-03", "1e-03", "no input uses it"]
    assert ticks(axes.yaxis) == ["expert 7", "expert 5", "expert 0"]


def test_images_in_colour_may_be_integers() -> None:
    pixels = DRAWS.integers(0, 256, (4, 3, 3, 3)).astype("uint8")
    for images in (pixels, pixels / 255):
        shown = draw_images(images, np.eye(4), k=1).axes[0].images
        np.testing.assert_allclose([each.get_array() for each in shown], pixels / 255, atol=1e-12)


def test_by_default_the_experts_with_the_largest_load_are_shown() -> None:
    a = coefficients_of(40)
    expected = np.argsort(-a.sum(axis=0), kind="stable")[:8]
    assert ticks(draw_images(np.ones((200, 2, 2)), a).axes[0].yaxis) == [f"expert {n}" for n in expected]


def test_a_model_has_a_row_for_each_level() -> None:
    # Of three experts that have a load, two are ahead for some token, and one has a half.
    few = np.array([[0.4, 0.35, 0.25, 0], [0.6, 0.2, 0.2, 0], [0.2, 0.45, 0.35, 0]])
    levels = {"a": [coefficients_of(600)], "b": [few, coefficients_of(1, 3)]}
    with tm.analysis.recording() as recording:
        for name, each in levels.items():
            recording.add(name, each)
    strip, effective, entropy, unused = draw_model(recording).axes[:4]
    assert ticks(strip.yaxis) == ["a · 600", "b, level 1 · 4", "b, level 2 · 1"]
    shown = strip.images[0].get_array()
    for row, a in zip(shown, [*levels["a"], *levels["b"]], strict=True):
        load = np.sort(a.sum(axis=0) / a.sum())[::-1] * a.shape[1]
        # Each expert is as wide as every other, also where a column has parts of two.
        fine = np.repeat(load, np.lcm(512, len(load)) // len(load)).reshape(512, -1).mean(axis=1)
        np.testing.assert_allclose(row, fine, rtol=1e-9, atol=1e-9)
    a = levels["b"][0]
    share = tm.analysis.effective_experts(a) / 4, tm.analysis.token_entropy(a).mean() / np.log(4)
    drawn = [axes.lines[0].get_xdata()[1] for axes in (effective, entropy, unused)]
    np.testing.assert_allclose(drawn, [*share, 3 / 4], rtol=1e-9)
    assert [axes.lines[0].get_xdata()[2] for axes in (effective, entropy)] == [1, 0]


def test_a_layer_that_was_not_called_is_grey() -> None:
    with tm.analysis.recording() as recording:
        recording.add("a", [np.zeros((2, 3))])
        recording.add("b", [np.ones((2, 3)) / 3])
    strip = draw_model(recording).axes[0].images[0].get_array()
    assert strip.mask.all(axis=1).tolist() == [True, False]


def test_ablations_that_change_something_are_shown_by_class() -> None:
    changes = np.array([[0.0, 0.1], [0, 0], [-0.8, 0.2], [-0.1, 0.0]])
    upper, lower, _ = draw_ablations(changes, ["a", "b"]).axes
    assert ticks(lower.xaxis) == ["2", "3", "0"]
    np.testing.assert_array_equal(lower.images[0].get_array(), changes[[2, 3, 0]].T)
    assert lower.images[0].get_clim() == (-0.8, 0.8)
    bars = upper.patches[0].get_data().values[::2]
    expected = [np.hypot(0.2, 0.2), 0.9, 0.9]
    np.testing.assert_allclose(bars, expected)
    assert upper.get_title(loc="right") == "1 of 4 experts change nothing"
    assert len(ticks(draw_ablations(np.zeros((3, 2))).axes[1].xaxis)) == 3


def test_a_hierarchy_has_the_experts_of_a_row_side_by_side() -> None:
    shares = np.array([[0.1, 0.6, 0.3], [np.nan] * 3, [0.5, 0.1, 0.4]])
    axes = draw_hierarchy(shares, level=1).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("expert of level 2", "expert of level 3")
    assert draw_hierarchy(np.ones((2, 65)) / 65).axes[0].get_xlabel() == "65 experts of level 2"
    assert ticks(axes.xaxis) == ["1", "0", "2"]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(-1), [[0.6, 0.1, 0.3], [-1] * 3, [0.1, 0.5, 0.4]])


def test_spectra_end_at_the_rank() -> None:
    axes = draw_spectra(np.array([[1.0, 3.0, 1e-15], [2.0, 2.0, 1.0]]), [9, 4]).axes[0]
    assert [line.get_label() for line in axes.lines] == ["expert 9", "expert 4"]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3, 1], [2, 2, 1]]


SQUARE = np.array([[1.0, 0.5], [0.5, 1.0]])
REFUSALS = [
    (lambda: draw_class_means(np.ones(3)), "means: received"),
    (lambda: draw_class_means(np.full((2, 3), np.nan)), "NaN throughout"),
    (lambda: draw_class_means(np.array([[0.5, np.inf]])), "means: received inf"),
    (lambda: draw_class_means(np.array([[0.5, np.nan]])), "means: received nan"),
    (lambda: draw_class_means(np.array([[0.5, -0.5]])), "means: received -0.5"),
    (lambda: draw_class_means(np.ones((2, 3)), ["a"]), "labels: received '1 of them'; pass a name"),
    (lambda: draw_class_means(np.ones((1, 3)), [1.5]), "labels: received 1.5"),
    (lambda: draw_class_means(np.ones((1, 3)), "a"), "labels: received 'a'"),
    (lambda: draw_class_means(np.ones((1, 3)), title=3), "title: received 3"),
    (lambda: draw_usage(np.ones(2) / 2, np.ones(3)), "usage: received"),
    (lambda: draw_usage(np.array([0.5, 1.5]), np.ones(2)), "load: received 1.5"),
    (lambda: draw_usage(np.ones(2) / 2, np.array([0, np.nan])), "usage: received nan"),
    (lambda: draw_usage(np.ones(2) / 2, np.ones(2), threshold=0), "threshold: received 0"),
    (lambda: draw_polysemanticity([4, 4], np.ones((2, 3))), "each number of experts once"),
    (lambda: draw_polysemanticity([4, 0], np.ones((2, 3))), "from 1 on"),
    (lambda: draw_polysemanticity([4, 8], np.ones((2, 1))), "two seeds"),
    (lambda: draw_polysemanticity([4, 8], np.ones((3, 2))), "each of the 2 numbers"),
    (lambda: draw_polysemanticity([4, 8], np.full((2, 2), np.nan)), "values: received nan"),
    (lambda: draw_polysemanticity([4, 8], -np.ones((2, 2))), "values: received -1"),
    (lambda: draw_polysemanticity([4], np.ones((1, 2)), confidence=1), "confidence: received 1"),
    (lambda: draw_polysemanticity([4, 8], {}), "values: received 0; pass from 1 to 7 curves"),
    (lambda: draw_polysemanticity([4, 8], {"a": np.ones((3, 2))}), r"values\['a'\]: received"),
    (lambda: draw_polysemanticity([4, 8], {3: np.ones((2, 2))}), "values: received 3"),
    (lambda: draw_similarity(np.ones((2, 3))), "cosines: received"),
    (lambda: draw_similarity(np.ones((1, 1))), "at least two experts"),
    (lambda: draw_similarity(np.array([[1, 0.5], [0.4, 1]])), "symmetric"),
    (lambda: draw_similarity(3 * SQUARE), "from −1 to 1"),
    (lambda: draw_similarity(np.nan * SQUARE), "cosines: received nan"),
    (lambda: draw_images(np.ones((3, 4, 4)), SQUARE), "an image for each of the 2 inputs"),
    (lambda: draw_images(np.ones((2, 4)), SQUARE), "images: received"),
    (lambda: draw_images(np.ones((2, 3, 4, 4)), SQUARE), "colours are the last axis"),
    (lambda: draw_images(2 * np.ones((2, 4, 4, 3)), SQUARE), "colours are from 0 to 1"),
    (lambda: draw_images(np.full((2, 4, 4), np.nan), SQUARE), "images: received nan"),
    (lambda: draw_images(np.ones((2, 4, 4)), -SQUARE), "coefficients: received -1"),
    (lambda: draw_images(np.ones((2, 4, 4)), SQUARE, experts=[2]), "there are 2 experts"),
    (lambda: draw_images(np.ones((2, 4, 4)), SQUARE, experts=[]), "1 to 64 experts"),
    (lambda: draw_images(np.ones((2, 4, 4)), SQUARE, k=3), "k: received 3"),
    (lambda: draw_ablations(np.ones(3)), "changes: received"),
    (lambda: draw_ablations(2 * SQUARE), "changes: received 2.0; accuracies"),
    (lambda: draw_ablations(SQUARE, ["a"]), "labels: received"),
    (lambda: draw_hierarchy(2 * SQUARE), "pass shares, from 0 to 1"),
    (lambda: draw_hierarchy(SQUARE, level=-1), "level: received -1"),
    (lambda: draw_spectra(-SQUARE), "spectra: received -1"),
    (lambda: draw_spectra(SQUARE, [1]), "experts: received '1 for 2 rows'"),
    (lambda: draw_spectra(np.ones((9, 2))), "at most 8 rows"),
    (lambda: draw_model({}), "recording: received"),
    (lambda: draw_model(tm.analysis.Recording({})), "at least one token"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_what_cannot_be_drawn_is_refused(call: Any, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        call()

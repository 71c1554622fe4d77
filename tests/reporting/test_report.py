"""The figures of a report against loops over inputs and the materialized tensor, and its page read back."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.frameworks import BACKENDS

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.reporting import Report, analyze
from tensormoe.reporting.plain import to_json

DRAWS = np.random.default_rng(0)
CLASSES, SIDE, COUNT = 3, 4, 50
GATE = tm.Gate("sparsemax", norm=None)
LABELS = DRAWS.integers(0, CLASSES, COUNT)
# Each class has dark pixels of its own.
X = (
    0.2 * DRAWS.random((COUNT, SIDE, SIDE)) + 0.6 * (LABELS[:, None, None] == np.arange(SIDE)[:, None])
).astype("float32")


def save(path: Path, spec: tm.Spec) -> Any:
    layer = tm.build(spec, "numpy", seed=0, dtype="float64")
    generator = np.random.default_rng(1)
    for name, value in layer.parameters.items():
        value[:] = generator.normal(size=value.shape)
        if name.startswith("gate"):
            value *= 2
    tm.save(layer, path)
    return layer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("analyze")
    names = np.array(["a<b", "b&c", "c"])
    ids = np.array([f"photo {n}" for n in range(COUNT)])
    np.savez(path / "all.npz", x=X, labels=LABELS, groups=LABELS % 2, ids=ids, names=names)
    np.save(path / "plain.npy", X.reshape(COUNT, -1) - 0.5)
    return path


@pytest.fixture(scope="module")
def layer(folder: Path) -> Any:
    spec = tm.MuMoESpec(SIDE**2, CLASSES, (4, 3), tm.CP(5), GATE)
    return save(folder / "two.safetensors", spec)


@pytest.fixture(scope="module")
def report(folder: Path, layer: Any) -> Report:
    paths = str(folder / "two.safetensors"), str(folder / "all.npz"), str(folder / "out")
    return analyze(*paths, batch_size=7, threshold=0.3)


@pytest.fixture(scope="module")
def figures(folder: Path, report: Report) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    return data


def test_figures_of_levels_are_those_of_all_inputs_at_once(layer: Any, figures: dict[str, Any]) -> None:
    _, coefficients = layer(X.reshape(COUNT, -1).astype("float64"), return_coefficients=True)
    for level, (a, known) in enumerate(zip(coefficients, figures["levels"], strict=True)):
        assert (known["level"], known["experts"]) == (level + 1, a.shape[1])
        load = a.sum(axis=0) / a.sum()
        np.testing.assert_allclose(known["load"], load, rtol=1e-12)
        np.testing.assert_allclose(known["usage"], (a >= 0.3).mean(axis=0), rtol=1e-12)
        assert known["dead"] == [n for n in range(a.shape[1]) if not a[:, n].any()]
        entropies = [-sum(p * np.log(p) for p in row if p > 0) for row in a]
        np.testing.assert_allclose(known["token_entropy"], np.mean(entropies), rtol=1e-9)
        np.testing.assert_allclose(known["effective_experts"], np.prod(load[load > 0] ** -load[load > 0]))
        means = [a[c == LABELS].mean(axis=0) for c in range(CLASSES)]
        np.testing.assert_allclose(known["class_means"], means, rtol=1e-12)
        shares = np.array([a[c == LABELS].sum(axis=0) for c in range(CLASSES)]) / COUNT
        expected = np.outer(shares.sum(axis=1), shares.sum(axis=0))
        parts = [p * np.log(p / q) for p, q in zip(shares.flat, expected.flat, strict=True) if p > 0]
        np.testing.assert_allclose(known["mutual_information"], sum(parts), rtol=1e-9)
        for n in range(a.shape[1]):
            best = sorted(range(COUNT), key=lambda t, n=n: (-a[t, n], t))[:8]
            positive = [t for t in best if a[t, n] > 0]
            assert known["top_inputs"]["inputs"][n][: len(positive)] == positive
            assert known["top_inputs"]["ids"][n][: len(positive)] == [f"photo {t}" for t in positive]
            np.testing.assert_allclose(known["top_inputs"]["coefficients"][n], a[best, n], rtol=1e-12)


def test_joint_loads_and_pairs_of_levels_are_sums_of_products(layer: Any, figures: dict[str, Any]) -> None:
    _, (first, second) = layer(X.reshape(COUNT, -1).astype("float64"), return_coefficients=True)
    table = sum(np.outer(a, b) for a, b in zip(first, second, strict=True))
    known = figures["all_levels"]
    np.testing.assert_allclose(known["load"], table.ravel() / table.sum(), rtol=1e-12)
    assert known["dead"] == int((table == 0).sum())
    (pair,) = figures["pairs_of_levels"]
    # A row without an input is null, which NumPy reads as NaN.
    with np.errstate(invalid="ignore"):
        expected = table / table.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(pair["conditional_usage"], float), expected, rtol=1e-12)


def test_ablations_are_those_of_the_materialized_tensor(layer: Any, figures: dict[str, Any]) -> None:
    x = X.reshape(COUNT, -1).astype("float64")
    _, (first, second) = layer(x, return_coefficients=True)
    z, weight = np.concatenate([x, np.ones((COUNT, 1))], axis=1), layer.materialize()

    def classify(w: np.ndarray) -> np.ndarray:
        return np.einsum("ta,tb,abio,ti->to", first, second, w, z).argmax(axis=1)

    right = classify(weight) == LABELS
    accuracy = [right[c == LABELS].mean() for c in range(CLASSES)]
    assert figures["accuracy"]["overall"] == right.mean()
    assert figures["accuracy"]["by_class"] == pytest.approx(accuracy)
    by_group = [right[g == LABELS % 2].mean() for g in range(2)]
    assert figures["accuracy"]["by_group"] == pytest.approx(by_group)
    assert figures["accuracy"]["max_min_fairness"] == pytest.approx(min(by_group))
    assert figures["accuracy"]["standard_deviation_bias"] == pytest.approx(np.std(by_group))
    for level, known in enumerate(figures["levels"]):
        for n, changes in enumerate(known["accuracy_changes"]):
            without = weight.copy()
            without[(slice(None),) * level + (n,)] = 0
            left = classify(without) == LABELS
            expected = [left[c == LABELS].mean() - accuracy[c] for c in range(CLASSES)]
            assert changes == pytest.approx(expected, abs=1e-12)
            distances = np.abs(expected)
            distances[distances.argmax()] -= 1
            poly = known["polysemanticity"]["experts"][n]
            assert poly == (pytest.approx(np.linalg.norm(distances)) if np.any(expected) else None)


def test_figures_of_weights_are_those_of_the_materialized_tensor(layer: Any, figures: dict[str, Any]) -> None:
    matrices = layer.materialize().reshape(12, SIDE**2 + 1, CLASSES)
    known = figures["layers"]["cores"]
    lengths = np.linalg.norm(matrices, axis=(1, 2))
    np.testing.assert_allclose(known["norms"], lengths, rtol=1e-9)
    flat = matrices.reshape(12, -1) / lengths[:, None]
    cosines = {(n, m): flat[n] @ flat[m] for n in range(12) for m in range(n + 1, 12)}
    best = max(cosines, key=lambda pair: cosines[pair])
    assert known["closest"]["experts"] == list(best)
    assert known["closest"]["cosine"] == pytest.approx(cosines[best], rel=1e-9)
    assert known["mean_cosine"] == pytest.approx(np.mean(list(cosines.values())), rel=1e-9)
    load = np.array(figures["all_levels"]["load"])
    used = np.argsort(-load, kind="stable")[:6]
    assert [each["expert"] for each in known["spectra"]] == [int(n) for n in used if load[n] > 0]
    for each in known["spectra"]:
        expected = np.linalg.svd(matrices[each["expert"]], compute_uv=False)
        np.testing.assert_allclose(each["singular_values"], expected, rtol=1e-9, atol=1e-12)


def test_the_json_is_strict(folder: Path, report: Report) -> None:
    text = (folder / "out" / "report.json").read_text(encoding="utf-8")
    assert text == to_json(report) + "\n"
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    assert tm.Spec.from_dict(json.loads(text)["spec"]) == report.spec


class Reader(HTMLParser):
    """Tags that are balanced, the text, and each picture's alternatives."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.pictures: list[dict[str, str]] = []
        self.sources: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        named = dict(attributes)
        self.pictures += [named] if tag == "img" else []
        self.sources += [named["srcset"]] if tag == "source" else []
        self.open += [] if tag in ("meta", "img", "source") else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_the_page_has_every_picture_and_needs_no_network(folder: Path, report: Report) -> None:
    html = (folder / "out" / "report.html").read_text(encoding="utf-8")
    read = Reader(html)
    for word in ("a<b", "b&c", "photo", "From level to level", "Weights", "information on classes", "group"):
        assert word in read.text, word
    # Of two levels usage, classes, ablations and images; the hierarchy; similarity and spectra.
    assert len(read.pictures) == 2 * 4 + 1 + 2
    assert all(len(each["alt"]) > 40 for each in read.pictures)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    assert '<meta name="viewport"' in html
    for each in read.pictures:
        assert abs(_open(each["src"]).width - 2 * int(each["width"])) <= 2
    # A phone gets what is narrower than its screen's 390 CSS pixels, at twice that many.
    assert read.sources
    assert {_open(each).width for each in read.sources} == {787}
    assert not re.search(r"\d\.\d{5}", read.text)


def _open(address: str) -> Image.Image:
    head, _, body = address.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(BytesIO(b64decode(body)))


def test_without_labels_what_needs_them_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "block.safetensors", tm.MuMoEBlockSpec(SIDE**2, 5, 6, 4, tm.CP(3), GATE))
    words = [str(folder / "block.safetensors"), str(folder / "plain.npy"), "--out", str(folder / "block")]
    (folder / "block").mkdir()  # an empty one may be there
    assert main(["analyze", *words]) == 0
    shown = capsys.readouterr()
    assert "50 inputs of plain.npy, no labels" in shown.out
    assert re.search(r"\n first +4 .*\n second +4 ", shown.out)
    assert shown.err == ""
    read = Reader((folder / "block" / "report.html").read_text(encoding="utf-8"))
    assert len(read.pictures) == 1 + 2 * 2
    assert "nan" not in read.text.lower()
    known = json.loads((folder / "block" / "report.json").read_text(encoding="utf-8"))
    assert known["accuracy"] is None
    assert "class_means" not in known["levels"][0]
    assert sorted(each.name for each in (folder / "block").iterdir()) == ["report.html", "report.json"]


# JAX compiles every operation of it, for some ten seconds.
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name not in ("numpy", "jax")])
def test_another_backend_has_the_same_figures(
    backend: str, folder: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tensormoe.reporting.run.write_page", lambda report: tm.analysis.Page("", ""))
    single = tm.load(folder / "two.safetensors", "numpy", dtype="float32")
    tm.save(single, tmp_path / "two.safetensors")
    paths = str(tmp_path / "two.safetensors"), str(folder / "all.npz"), str(tmp_path / "out")
    other = json.loads(to_json(analyze(*paths, backend=backend, batch_size=50, threshold=0.3)))
    assert (other["backend"], other["dtype"]) == (backend, "float32")
    assert other["accuracy"] == figures["accuracy"]
    for ours, theirs in zip(other["levels"], figures["levels"], strict=True):
        np.testing.assert_allclose(ours["load"], theirs["load"], rtol=1e-5, atol=1e-6)
        assert ours["accuracy_changes"] == theirs["accuracy_changes"]

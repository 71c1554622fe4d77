"""The experiment on mixers: the network, its parameters, its data, and that it runs on digits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm
from benchmarks.experiments.data.augmentation import CHANGES, rand_augment
from benchmarks.experiments.results import Line, Results

torch = optional("torch")
Image = pytest.importorskip("PIL.Image")

from benchmarks.experiments import mixer, presets, runner  # noqa: E402
from benchmarks.experiments.mixer_data import Part, Patched, Task, read  # noqa: E402
from benchmarks.experiments.mixing import Mixer, Sizes, cut, fit_blocks  # noqa: E402

SMALL = presets.read(mixer.EXPERIMENT)
FULL = presets.read(mixer.EXPERIMENT, "full")
SIZES = Sizes(tokens=6, values=4, layers=2, width=5, hidden=(7, 8), classes=3)
GATE = tm.Gate(norm="batch")


def test_a_mixer_is_what_was_published() -> None:
    """By hand: MLPs over tokens, then over channels, both behind a LayerNorm and beside a skip."""
    torch.manual_seed(0)
    model = Mixer(SIZES, None).double().eval()
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    values = {name: each.detach().numpy() for name, each in model.state_dict().items()}

    def normalize(h: np.ndarray, name: str) -> np.ndarray:
        centred = h - h.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * values[f"{name}.weight"] + values[f"{name}.bias"]

    def linear(h: np.ndarray, name: str) -> np.ndarray:
        return h @ values[f"{name}.weight"].T + values[f"{name}.bias"]

    def mlp(h: np.ndarray, name: str) -> np.ndarray:
        hidden = torch.nn.functional.gelu(torch.from_numpy(linear(h, f"{name}.0"))).numpy()
        return linear(hidden, f"{name}.2")

    h = linear(x.numpy(), "embed")
    for layer in range(2):
        seen = normalize(h, f"norms.{2 * layer}").swapaxes(1, 2)
        h = h + mlp(seen, f"mlps.{2 * layer}").swapaxes(1, 2)
        h = h + mlp(normalize(h, f"norms.{2 * layer + 1}"), f"mlps.{2 * layer + 1}")
    expected = linear(normalize(h, "last").mean(1), "read")
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-12)


def test_blocks_take_the_place_of_the_mlps_and_tell_their_coefficients() -> None:
    torch.manual_seed(0)
    model = Mixer(SIZES, fit_blocks(SIZES, "CP", 2, tm.Gate(norm="layer"), None)).double().eval()
    for name, weights in model.named_parameters():
        if "gate_weights" in name:
            torch.nn.init.normal_(weights)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        means = model.route(x)
        first = model.norms[0](model.embed(x)).transpose(1, 2)
        _, (coefficients,) = model.mlps[0](first, return_coefficients=True)
    assert [each.shape for each in means] == [(3, 2)] * 4
    torch.testing.assert_close(means[0], coefficients.mean(1))
    assert float(means[0].std()) > 1e-3


def test_the_published_mixers_have_the_published_parameters() -> None:
    task = Task(*[Part(torch.zeros(1), torch.zeros(1))] * 3, classes=1000, tokens=196, values=768)
    sizes = mixer.size(FULL, task)
    counts = []
    with torch.device("meta"):
        for family in (None, *FULL.families):
            place = FULL.families.index(family) if family else 0
            specs = fit_blocks(sizes, family, 64, GATE, FULL.shares[place]) if family else None
            counts.append(sum(each.numel() for each in Mixer(sizes, specs).parameters()))
    assert [round(count / 1e6, 2) for count in counts] == [18.53, 18.63, 18.29]


@pytest.mark.parametrize("family", SMALL.families)
@pytest.mark.parametrize("experts", SMALL.experts)
def test_blocks_have_at_most_the_parameters_of_dense_mlps_and_hardly_fewer(family: str, experts: int) -> None:
    for tokens in (16, 20):
        sizes = Sizes(tokens, 4, 2, SMALL.width, (SMALL.hidden[0], SMALL.hidden[1]), 10)
        dense, blocks = (
            sum(each.numel() for each in Mixer(sizes, specs).parameters())
            for specs in (None, fit_blocks(sizes, family, experts, GATE, None))
        )
        assert 0.9 < blocks / dense <= 1


def test_blocks_that_cannot_fit_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="experts: received 900; pass fewer: rank 1 does not fit"):
        fit_blocks(SIZES, "CP", 900, GATE, None)
    with pytest.raises(tm.TensorMoEError, match="choose of CP, ring"):
        fit_blocks(SIZES, "tree", 2, GATE, 0.5)


def test_patches_are_cut_row_by_row_with_all_their_colours() -> None:
    assert cut(torch.arange(6.0)[None], 2).tolist() == [[[0, 1], [2, 3], [4, 5]]]
    image = torch.arange(16.0).reshape(1, 4, 4)
    assert cut(image, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    coloured = torch.stack([image, image + 100, image + 200], 1)
    assert cut(coloured, 2)[0, 1].tolist() == [k + c for c in (0, 100, 200) for k in (2, 3, 6, 7)]
    with pytest.raises(tm.TensorMoEError, match="patch: received 3; it must divide 4"):
        cut(image, 3)


def test_mixup_is_a_mean_of_two_inputs_and_of_their_losses() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(4, 2), torch.arange(4)
    mixed, others, weight = mixer.mix_up(x, labels, 0.5)
    assert 0 < float(weight) < 1
    assert others.tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(mixed, float(weight) * x + (1 - float(weight)) * x[[3, 2, 1, 0]], atol=1e-6)
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 4)
    torch.manual_seed(5)
    found = mixer._loss(replace(SMALL, mixup=0.5))(model, x, labels)
    torch.manual_seed(5)
    mixed, others, weight = mixer.mix_up(x, labels, 0.5)
    logs = model(mixed).log_softmax(-1)
    rows = torch.arange(4)
    expected = -(weight * logs[rows, labels] + (1 - weight) * logs[rows, others]).mean()
    torch.testing.assert_close(found, expected)


def test_an_experts_main_class_is_the_one_with_most_of_its_coefficients() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    a = np.array([[1, 0.0], [0.5, 0.5], [0, 1], [0, 1], [0, 1]])
    # Expert 0: 1.5 for class 0. Expert 1: 0.5 for class 0, 3 for class 1.
    assert mixer.main_share(a, labels) == pytest.approx((1.5 + 3) / 5)


def picture() -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3)).astype("uint8")
    return Image.fromarray(pixels)


def test_changes_of_pictures_keep_their_size_and_grow_with_the_strength() -> None:
    own = np.asarray(picture()).astype(int)
    for name, change in CHANGES.items():
        weak, strong = (np.asarray(change(picture(), strength)) for strength in (0.0, -0.9))
        assert weak.shape == strong.shape == own.shape
        if name in ("identity", "autocontrast", "equalize"):
            assert (weak == strong).all(), name
        else:
            assert (weak == own).all(), name
            assert (strong != own).any(), name


def test_a_shift_and_a_posterized_picture_are_as_the_ranges_say() -> None:
    moved = np.asarray(CHANGES["translate x"](picture(), 331 / 150 / 4))
    assert (moved[:, :-3] == np.asarray(picture())[:, 3:]).all()
    assert (moved[:, -3:] == 128).all()
    assert (np.asarray(CHANGES["posterize"](picture(), 1.0)) == np.asarray(picture()) // 16 * 16).all()
    assert np.asarray(CHANGES["solarize"](picture(), -0.5)).max() <= 127


def test_changes_are_drawn_from_the_generator() -> None:
    first, again, other = (
        np.asarray(rand_augment(picture(), 2, 15, np.random.default_rng(seed))) for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert not (first == other).all()


def paint(root: Path, size: int = 12) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        for number, name in enumerate(("blue", "green")):
            (root / split / name).mkdir(parents=True)
            for place in range(count):
                pixels = generator.integers(0, 100, size=(size, size, 3), dtype="uint8")
                pixels[..., 2 - number] += 150
                Image.fromarray(pixels).save(root / split / name / f"{place}.png")


def test_the_full_recipe_runs_on_a_folder_of_images(tmp_path: Path) -> None:
    """Its sizes are small; RandAugment, MixUp, bfloat16, parts of batches and ranks are its own."""
    paint(tmp_path)
    sizes = {"layers": 1, "width": 8, "hidden": (8, 8), "experts": (2,), "side": 12, "patches": (4,)}
    steps = {"steps": (30,), "batch": 16, "at_once": 8, "warmup": 3, "watched": 2, "held_out": 8}
    tiny = replace(FULL, images=str(tmp_path), device="auto", rates=(0.02,), **sizes, **steps)
    finished = runner.run(mixer.EXPERIMENT, tiny, tmp_path / "results", quiet=True)
    assert [line["cell"]["mlp"] for line in finished.lines] == ["dense", "CP", "ring"]
    assert [line["measures"]["accuracy"] for line in finished.lines] == [1.0] * 3
    said = mixer.EXPERIMENT.report(tiny, finished)
    assert "not testable here" not in {each.verdict for each in said.findings}
    with pytest.raises(tm.TensorMoEError, match="there is no folder"):
        read(replace(tiny, images=str(tmp_path / "nothing")), "images")
    with pytest.raises(tm.TensorMoEError, match="held_out: received 48; pass a number from 1 to 47"):
        read(replace(tiny, held_out=48), "images")
    with pytest.raises(tm.TensorMoEError, match="patches: received 5; it must divide side, 12 pixels"):
        read(replace(tiny, patches=(5,)), "images")


def test_pictures_are_drawn_anew_for_each_batch_and_the_same_after_a_checkpoint(tmp_path: Path) -> None:
    paint(tmp_path)
    task = read(replace(FULL, images=str(tmp_path), side=12, patches=(4,), held_out=8), "images")
    rows = torch.tensor([3, 1])
    state = torch.get_rng_state()
    first, second = task.train.x[rows], task.train.x[rows]
    torch.set_rng_state(state)
    again = task.train.x[rows]
    assert first.shape == (2, 9, 48)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert isinstance(task.train.x, Patched)
    plain = replace(task.train.x, augment=())
    assert torch.equal(plain[rows], plain[rows.flip(0)].flip(0))
    # No picture to choose by is one to train on.
    assert not {*task.train.x.rows.tolist()} & {*task.validation.x.rows.tolist()}


def test_the_experiment_runs_on_digits(tmp_path: Path) -> None:
    sizes = {"seeds": 2, "layers": 1, "width": 16, "hidden": (32, 32), "experts": (2,)}
    tiny = replace(SMALL, tasks=("digits",), patches=(2,), steps=(4,), watched=2, rates=(1e-3, 1e-2), **sizes)
    finished = runner.run(mixer.EXPERIMENT, tiny, tmp_path, quiet=True)
    assert len(finished.lines) == 2 * 3
    assert all([step for step, _ in line["measures"]["curve"]] == [2, 4] for line in finished.lines)
    said = mixer.EXPERIMENT.report(tiny, finished)
    assert [each.draw().axes[0].get_ylabel() for each in said.pictures] == [
        "test accuracy [%]",
        "main class's share of coefficients [%]",
    ]
    with pytest.raises(tm.TensorMoEError, match="tasks: received 'speech'"):
        read(replace(SMALL, tasks=("speech",)), "speech")


def line(mlp: str, experts: int, seed: int, accuracy: float, share: float) -> Line:
    kinds = ("token", "channel")
    own = {f"{kind} {name}": value for kind in kinds for name, value in (("share", share), ("in use", 2.0))}
    chance = {f"{kind} share by chance": 0.1 for kind in kinds}
    measures = {"accuracy": accuracy, "loss": 1.0, "rate": 0.01, "parameters": 5, **own, **chance}
    cell = {"task": "digits", "mlp": mlp, "experts": experts}
    return {"cell": cell, "seed": seed, "measures": measures, "timings": {"step": 0.1}}  # type: ignore


@pytest.mark.parametrize(
    ("more", "share", "verdict"), [(0.02, 0.4, "holds"), (-0.02, 0.12, "does not hold at this size")]
)
def test_accuracies_are_judged_against_the_dense_mixer_and_shares_against_chance(
    more: float, share: float, verdict: str
) -> None:
    dense = [line("dense", 0, seed, 0.9 + 0.01 * seed, 0.1) for seed in range(3)]
    blocks = [
        line(family, 4, seed, 0.9 + more + 0.0101 * seed, share + 1e-3 * seed)
        for family in ("CP", "ring")
        for seed in range(3)
    ]
    chosen = replace(SMALL, tasks=("digits",), patches=(2,), steps=(3,), experts=(4,))
    said = mixer.EXPERIMENT.report(chosen, Results((*dense, *blocks)))
    assert [each.verdict for each in said.findings] == [verdict, verdict, "not testable here"]

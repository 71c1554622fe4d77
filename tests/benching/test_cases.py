"""Every case of `python -m benchmarks`, at small sizes: sides agree, and each target names what is measured.

No time is asserted.
"""

from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO

import pytest
from hypothesis import settings
from support.frameworks import BACKENDS

import tensormoe as tm

if {"torch", "jax"} - {*BACKENDS}:
    pytest.skip("the cases compare PyTorch with JAX", allow_module_level=True)
for package in ("einops", "entmax", "tltorch", "matplotlib"):
    if find_spec(package) is None:
        pytest.skip(f"needs {package}", allow_module_level=True)

import tensorly  # noqa: E402
import torch  # noqa: E402

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import figures, report  # noqa: E402
from benchmarks.suite import Measurement, Settings  # noqa: E402
from benchmarks.targets import verdicts  # noqa: E402

QUICK = Settings(threads=1, rounds=1, seconds=1e-3)
RING = tm.TensorRing((2, 2, 3))
# In place of the sizes that are measured; the names in targets stay.
SMALL: Mapping[str, Mapping[str, object]] = {
    "vision": {"EXPERTS": 3, "IMAGES": 1},
    "gpt2": {"WIDTH": 8, "HIDDEN": 12, "EXPERTS": 5, "TOKENS": 6, "CP": tm.CP(4), "RING": RING},
    "in_jax": {"WIDTH": 8, "HIDDEN": 12, "EXPERTS": 5, "TOKENS": 6, "CP": tm.CP(4), "RING": RING},
    "models": {
        "SIZES": {"n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 16, "n_positions": 8},
        "EXPERTS": 3,
    },
    "levels": {"WIDTH": 8, "EXPERTS": 3, "TOKENS": 6},
    "structured": {"INPUT": (2, 3), "OUTPUT": (4, 2), "TOKENS": 6},
    "paths": {"BATCHES": (1, 64)},
    "decoders": {"WIDTH": 8, "HIDDEN": 12, "EXPERTS": 16, "CHOSEN": 2, "TOKENS": 6},
    "experts": {
        "INPUTS": 8,
        "OUTPUTS": 6,
        "RANK": 4,
        "TOKENS": 3,
        "COUNTS": ((64,), (1024, 1024), (100, 100, 100)),
    },
    "gates": {"SCALES": (5,), "MIDDLE": (4, 130), "LARGE": (3, 140), "TINY": (2, 16), "CHOICE": (3, 64)},
    "compilation": {"BATCHES": (2, 3, 8)},
    "sparse": {"WIDTH": 8, "HIDDEN": 6, "EXPERTS": 5, "BATCHES": (1, 4), "RANK": 2},
    "similarity": {"INPUTS": 8, "OUTPUTS": 6, "EXPERTS": 5, "RANK": 4},
    "ablation": {"EXPERTS": 16, "RANK": 2, "HIDDEN": 4},
    "recording": {"TOKENS": 100_000, "BATCH": 50_000, "LAYERS": 1, "EXPERTS": 5},
    "candidates": {"COUNT": 5, "JOBS": 1},
    "startup": {},
    "tiny": {},
}
SHOWN = {(4, 130): (1024, 256), (3, 140): (1024, 4096), (3, 64): (4096, 1024)}


@pytest.fixture(autouse=True, scope="module")
def tensorlys_backend() -> Iterator[None]:
    """Its import switches TensorLy's global backend, which other tests are to find as they left it."""
    before = tensorly.get_backend()
    import_module("tltorch")
    yield
    tensorly.set_backend(before)


def in_process(program: str) -> str:
    """What a program prints, without an interpreter of its own."""
    shown = StringIO()
    with redirect_stdout(shown):
        exec(program, {})
    return shown.getvalue()


def traced(module: torch.nn.Module) -> object:
    """Compiled in one graph, as the cases do, and run as it is: code is generated in tests of its own."""
    return torch.compile(module, fullgraph=True, backend="eager")


def shrink(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(f"benchmarks.cases.{name}")
    for constant, value in SMALL[name].items():
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr("benchmarks.contenders.layers.compiled", traced)
    if hasattr(module, "compiled"):
        monkeypatch.setattr(module, "compiled", traced)
    if name in ("startup", "similarity", "recording"):
        monkeypatch.setattr(module, "output_of", in_process)
    if name == "experts":
        monkeypatch.setattr(module, "_in_process", lambda counts, settings: module._peak(1, counts) or 1)
    if name == "gates":
        title = module.title
        shown = lambda name, mode, shape, scale: title(name, mode, SHOWN.get(shape, shape), scale)  # noqa: E731
        monkeypatch.setattr(module, "title", shown)


@pytest.mark.parametrize("name", command.CASES)
def test_a_case_runs_and_measures_what_its_targets_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    if name == "compilation" and settings.default.max_examples < 1000:
        pytest.skip("compiles for half a minute: it runs in the profile deep")
    if name == "gpt2_model" and find_spec("transformers") is None:
        [text] = command.case(name)(QUICK)
        assert "needs transformers" in str(text)
        pytest.skip("needs transformers")
    shrink(command.CASES[name], monkeypatch)
    torch._dynamo.reset()
    try:
        given = [*command.case(name)(QUICK)]
    finally:
        torch._dynamo.reset()
    measured = [item for item in given if isinstance(item, Measurement)]
    assert measured
    assert all(measurement.values and report.lines(measurement) for measurement in measured)
    judged = verdicts({name: measured})
    scaled = [verdict for verdict in judged if name != "gates" or "× 5" in verdict.target.quantity]
    assert [verdict.target.quantity for verdict in scaled if verdict.value is None] == []
    figures.draw(tmp_path, {name: measured}, judged)


def test_sides_that_disagree_are_an_error() -> None:
    sides = {"one": lambda: torch.ones(3), "other": lambda: torch.ones(3) + 1e-3}
    with pytest.raises(AssertionError, match="other: "):
        QUICK.times("sums", sides, same=("one", "other"))

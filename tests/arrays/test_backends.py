"""Finding backends, keeping them apart, and what importing them does."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.strategies import BACKENDS, close, truth, values_for

import tensormoe as tm
from tensormoe.arrays import tensorly as adapter
from tensormoe.arrays.registry import backend_of
from tensormoe.cli import main
from tensormoe.testing import assert_equivalent, check_backend

SPEC = tm.MuMoESpec(6, 3, (4, 2), tm.CP(5))


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def test_the_core_loads_no_framework() -> None:
    code = (
        "import sys, tensormoe as tm\n"
        "spec = tm.MuMoESpec(6, 3, 4, tm.CP(5))\n"
        "print(spec.plan())\n"
        "tm.verify(spec, backends=('numpy',))\n"
        "print(sorted({'torch', 'jax', 'flax', 'tensorflow'} & set(sys.modules)))"
    )
    assert run(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_importing_the_jax_backend_leaves_64_bit_mode_alone(before: bool, inside: bool) -> None:
    code = (
        "import jax, contextlib\n"
        f"jax.config.update('jax_enable_x64', {before})\n"
        f"with jax.enable_x64({not before}) if {inside} else contextlib.nullcontext():\n"
        "    import tensormoe_jax\n"
        "    import tensormoe as tm\n"
        "    tm.verify(tm.MuMoESpec(6, 3, 4, tm.CP(5)), backends=('jax',))\n"
        "print(jax.numpy.zeros(1).dtype)"
    )
    assert run(code) == ("float64" if before else "float32")


def test_tensorlys_global_backend_is_never_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorly

    def refuse(*_args, **_kwargs):
        raise AssertionError("the global backend was switched")

    monkeypatch.setattr(tensorly.backend.BackendManager, "set_backend", refuse)
    report = tm.verify(SPEC, BACKENDS)
    assert report.passed, report
    assert tensorly.get_backend() == "numpy"


def test_two_threads_run_two_frameworks() -> None:
    values = values_for(SPEC, 0, 5)
    expected = truth(SPEC, values).y

    def work(name: str) -> None:
        ops = tm.get_backend(name)
        with ops.double_precision():
            for _ in range(30):
                x, *rest = (ops.from_numpy(value) for value in values.operands)
                close(ops.to_numpy(tm.contract(SPEC, rest[2:], rest[:2], x)), expected)

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work, name) for name in BACKENDS * 2]:
            future.result()


def test_unknown_backends_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (
        lambda: tm.get_backend("mxnet"),
        lambda: tm.build(SPEC, "mxnet"),
        lambda: tm.verify(SPEC, ("numpy", "mxnet")),
        lambda: tm.verify(SPEC, "mxnet", methods="proof"),
        lambda: tm.bench(SPEC, "mxnet"),
        lambda: tm.apply(SPEC, {}, np.ones((1, 6)), backend="mxnet"),
        lambda: assert_equivalent(SPEC, backends="mxnet"),
        lambda: assert_equivalent(SPEC, backends=("numpy", "mxnet"), methods="exact"),
        lambda: check_backend("mxnet"),
    ):
        with pytest.raises(tm.TensorMoEError, match="'mxnet'; choose one of cupy, jax, numpy, paddle"):
            call()
    for call in (lambda: tm.get_backend(["numpy"]), lambda: tm.build(SPEC, ["torch"])):
        with pytest.raises(tm.TensorMoEError, match=r"backend: received \["):
            call()
    with pytest.raises(tm.TensorMoEError, match="backends: received 3; pass"):
        tm.verify(SPEC, 3)
    for command in ("verify", "bench"):
        rest = ["n r, i r, r o", "--bond", "r=2", "--experts", "3", "--in", "4", "--out", "2"]
        assert main([command, *rest, "--backend", "mxnet"]) == 2
        assert "'mxnet'; choose one of cupy, jax, numpy, paddle" in capsys.readouterr().err
    with pytest.raises(tm.TensorMoEError, match="only the functional API"):
        tm.build(SPEC, "cupy")
    with pytest.raises(tm.TensorMoEError, match="pass an array"):
        tm.softmax([1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("torch", "torch", 'pip install "tensormoe[torch]"'),
        ("jax", "jax", 'pip install "tensormoe[jax]"'),
        ("cupy", "cupy", "pip install cupy"),
        ("paddle", "paddle", "pip install paddlepaddle"),
    ],
)
def test_a_missing_framework_names_its_command(name: str, module: str, command: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import tensormoe as tm\n"
        f"try: tm.get_backend({name!r})\n"
        "except tm.TensorMoEError as error: print(error)"
    )
    shown = run(code)
    assert shown.endswith(command)
    assert "\n" not in shown


def test_pytorch_is_another_name_for_torch() -> None:
    assert tm.get_backend("pytorch") is tm.get_backend("torch")


def test_any_tensorly_backend_runs_the_functional_api() -> None:
    """TensorLy's own NumPy class, through the path that CuPy, TensorFlow and Paddle take."""
    ops = adapter.adapt("numpy")
    assert type(ops) is not type(tm.get_backend("numpy"))
    spec = tm.MuMoEBlockSpec(6, 8, 3, (4, 2), tm.CP(5), nonlinearity="gelu_tanh", input_norm=True)
    parameters, state = tm.initialize(spec, 0, "float64")
    x = np.random.default_rng(0).normal(size=(5, 6))
    ours, _, _ = tm.apply(spec, parameters, x, state=state, backend=ops)
    theirs, _, _ = tm.apply(spec, parameters, x, state=state)
    close(ours, theirs)
    with pytest.raises(tm.TensorMoEError, match="use 'gelu_tanh'"):
        tm.apply(spec.replace(nonlinearity="gelu"), parameters, x, backend=ops)


def test_errors_survive_a_pickle() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(tm.TensorMoEError("rank", 0, "pass a positive integer")))
    assert str(error) == "rank: received 0; pass a positive integer"
    assert isinstance(error, ValueError)


WITHOUT_METADATA = (
    "import importlib.metadata\n"
    "importlib.metadata.entry_points = lambda **_: importlib.metadata.EntryPoints({points})\n"
    "import tensormoe as tm\n"
)


def test_the_built_in_backends_need_no_package_metadata() -> None:
    code = WITHOUT_METADATA.format(points="") + "print(*tm.available_backends())"
    assert run(code).split() == ["cupy", "jax", "numpy", "paddle", "tensorflow", "torch"]


def test_another_package_adds_a_backend_and_replaces_none() -> None:
    group = "tensormoe.backends"
    points = [f"importlib.metadata.EntryPoint({name!r}, 'json', {group!r})" for name in ("numpy", "mine")]
    code = WITHOUT_METADATA.format(points=f"[{', '.join(points)}]") + (
        "from tensormoe.arrays.registry import get_module\n"
        "print(get_module('numpy').__name__, get_module('mine').__name__)"
    )
    assert run(code) == "tensormoe_numpy json"


def test_jax_takes_what_holds_an_array() -> None:
    jax, nnx = pytest.importorskip("jax"), pytest.importorskip("flax.nnx")
    ops, values = tm.get_backend("jax"), np.arange(3.0, dtype="float32")
    parameter = nnx.Param(jax.numpy.asarray(values))
    assert backend_of(parameter) is ops
    for value in (values, jax.numpy.asarray(values), parameter, nnx.Variable(values), nnx.BatchStat(values)):
        array = ops.as_array(value)
        assert isinstance(array, jax.Array)
        np.testing.assert_array_equal(array, values)
    assert ops.as_array("x") == "x"


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_other_frameworks_take_their_arrays_as_they_are(name: str) -> None:
    ops = tm.get_backend(name)
    for value in (ops.ones((2,)), "x", np.ones(2)):
        assert ops.as_array(value) is value

import json
import sys
from itertools import product
from math import inf, nan

import numpy as np
import pytest
from support.frameworks import optional
from support.strategies import BACKENDS

import tensormoe as tm
from tensormoe.arrays.registry import installed_backends
from tensormoe.layers.stage import Stage
from tensormoe.programs.instructions import Matmul, Multiply
from tensormoe.verification import METHODS, Check
from tensormoe.verification.arithmetic.rounding import (
    UNITS,
    Counted,
    CountingOps,
    Precision,
    compound,
    gamma,
)
from tensormoe.verification.exact import degree
from tensormoe.verification.floating import largest, round_to
from tensormoe.verification.inputs import draw_sample, integer_inputs, real_inputs
from tensormoe.verification.reference.contraction import IndexedArray, Reference, contract
from tensormoe.verification.reference.families import weight_of_family

torch = optional("torch")

CP = tm.MuMoESpec(7, 6, 4, tm.CP(5))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_every_family_verifies(levels: int, norm: str | None) -> None:
    experts, ranks = (4, 3, 2)[:levels], (2, 3, 4, 3, 2)[: levels + 2]
    for family in (tm.CP(5), tm.Tucker(ranks), tm.TensorRing(ranks), tm.TensorTrain(ranks[1:]), tm.Dense()):
        report = tm.verify(tm.MuMoESpec(7, 6, experts, family, tm.Gate(norm=norm)), ("numpy", "torch"))
        assert report.passed, str(report)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_every_method_compares_every_quantity_on_every_backend(norm: str) -> None:
    report = tm.verify(CP.replace(gate=tm.Gate(norm=norm)), BACKENDS)
    assert report.passed
    # The names alone, without counts of steps and entries.
    actual = [(c.method, c.subject, c.quantity.split(",")[0]) for c in report.checks]
    expected = [("proof", "indices", quantity) for quantity in ("output and gradients", "weight")]
    expected += [
        ("exact", "integers mod 2^61 − 1", name) for name in ("output", "gradients", "network", "weight")
    ]
    types = [(b, t) for b in BACKENDS for t in tm.get_backend(b).float_types]
    assert len(types) == 3 + 4 + 4
    expected += [("float", f"{b} {t}", name) for b, t in types for name in ("output", "gradients")]
    gate = ["coefficients of the gate", "running statistics"][: 1 + (norm == "batch")]
    expected += [("float", f"{b} {t}", name) for b, t in types for name in gate]
    whole = ["output", "coefficients", *["running statistics"] * (norm == "batch")]
    whole += ["output in evaluation", "weights"]
    for b in BACKENDS:
        expected += [("frameworks", f"{b} = definition", name) for name in whole]
        if b == "jax":
            expected += [("frameworks", "jax = torch", name) for name in ("gradients", "ten training steps")]
        if b != "numpy":
            expected.append(("frameworks", f"{b} = definition", "gradients"))
        modes = ["evaluation"] + ["training", "evaluation after training"] * (b != "numpy")
        modules = [*(f"module in {mode}" for mode in modes), "module's weights"]
        expected += [("frameworks", f"{b} = definition", name) for name in modules]
    expected.append(("capacity", "initial values", "equal experts and bonds"))
    assert actual == expected


@pytest.mark.parametrize("methods", [*METHODS, ("exact", "proof"), ["float"]])
def test_some_methods_alone(methods: tuple[str, ...] | str) -> None:
    chosen = {methods} if isinstance(methods, str) else {*methods}
    assert {check.method for check in tm.verify(CP, ("numpy",), methods=methods).checks} == chosen


def test_the_installed_backends_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_backends() == ("numpy", "jax", "torch")
    monkeypatch.setitem(sys.modules, "tensormoe_jax", None)
    report = tm.verify(CP, methods=("float", "frameworks"))
    assert report.passed
    assert {check.subject.split()[0] for check in report.checks} == {"numpy", "torch"}


def test_a_report_without_a_comparison_is_not_a_pass() -> None:
    empty = tm.VerificationReport(CP, ())
    assert not empty.passed
    assert str(empty).endswith("nothing was compared")


def test_a_method_that_compares_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a backend without any element type, in two ways."""
    monkeypatch.setattr(type(tm.get_backend("numpy")), "float_types", ())
    for methods in ("float", ("proof", "float")):
        report = tm.verify(CP, ("numpy",), methods=methods)
        assert [c.method for c in report.checks if not c.passed] == ["float"]
        assert not report.passed
        assert "float: verification, all: nothing was compared" in str(report)


def test_a_report_reads() -> None:
    report = tm.verify(CP, ("numpy", "torch"))
    shown = str(report)
    for words in (
        "output and gradients, 4 steps",
        "torch bfloat16",
        "numpy = definition",
        "gate: LinearRouter() → layer norm → entmax15",
        "probability at most d/p = 2.2e-18, d = 5",
        f"{len(report.checks)} of {len(report.checks)} comparisons hold",
    ):
        assert words in shown
    data = json.loads(report.to_json())
    assert data["passed"] is True
    assert tm.spec_from_json(json.dumps(data["spec"])) == CP
    assert {"python", "numpy", "torch", "tensormoe"} <= data["versions"].keys()
    assert [check["quantity"] for check in data["checks"]] == [check.quantity for check in report.checks]


def test_infinities_and_functions_are_written_as_text() -> None:
    report = tm.VerificationReport(
        CP.replace(gate=tm.Gate(abs)), (Check("float", "", "", inf, 1.0), Check("float", "", "", nan, 1.0))
    )
    data = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert [check["error"] for check in data["checks"]] == ["inf", "nan"]
    assert not data["passed"]
    assert "built-in function abs" in data["spec"]


def test_a_block_compares_both_layers() -> None:
    report = tm.verify(tm.MuMoEBlockSpec(7, 8, 6, 4, tm.CP(5)), ("numpy",))
    for method in METHODS[:3]:
        quantities = [check.quantity for check in report.checks if check.method == method]
        assert {quantity.split(",")[0] for quantity in quantities} >= {"first layer", "second layer"}


def spoil(array, factor: float):
    """An array off by a factor; what is counted is not."""
    return array if isinstance(array, Counted) else array * factor


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", ["run", "vjp"])
def test_a_fault_of_some_roundings_is_found(
    backend: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product off by some roundings of float64, and a wrong reverse mode."""
    right, factor = getattr(Multiply, fault), 1 + 2e-14

    def run(self, ops, registers, batch):
        return spoil(right(self, ops, registers, batch), factor)

    def vjp(self, ops, registers, gradient, position):
        return spoil(right(self, ops, registers, gradient, position), factor)

    spec = tm.MuMoESpec(3, 2, 2, tm.CP(2))
    monkeypatch.setattr(Multiply, fault, {"run": run, "vjp": vjp}[fault])
    report = tm.verify(spec, (backend,), methods="float")
    # Automatic differentiation does not use `vjp`; NumPy's gradients do.
    assert report.passed == (fault == "vjp" and backend != "numpy")


def test_a_fault_in_one_framework_is_found_across(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_backend = type(tm.get_backend("torch"))
    monkeypatch.setattr(torch_backend, "softmax", lambda self, x: 1.001 * x.softmax(-1))
    report = tm.verify(CP.replace(gate=tm.Gate("softmax")), BACKENDS, methods="frameworks")
    failed = {check.subject for check in report.checks if not check.passed}
    assert failed == {"torch = definition", "jax = torch"}


def test_nan_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Check("float", "numpy", "output", nan, 1e-12).passed
    right = Matmul.run
    monkeypatch.setattr(Matmul, "run", lambda *args: spoil(right(*args), nan))
    report = tm.verify(tm.MuMoESpec(7, 6, 4, tm.Dense()), ("numpy",), methods="float")
    assert not report.passed
    assert "FAIL" in str(report)


def test_large_layers_are_sampled() -> None:
    """Experts, inputs and outputs that are left out have no value, so that sums are complete."""
    layer = tm.MuMoESpec(40, 30, (20, 10), tm.TensorRing((2, 3, 2, 3)))
    spec = layer.layers["cores"]
    generator = np.random.default_rng(0)
    sample = draw_sample(spec, generator, 1000)
    kept = [len(sample[mode]) for mode in spec.network.modes]
    assert np.prod(kept) <= 1000
    assert 40 in sample["i"]
    inputs = real_inputs(spec, generator, 3).restrict(sample)
    whole = Reference(
        spec, inputs, {m: np.arange(n) for m, n in zip(sample, spec.network.weight_shape, strict=True)}
    )
    part = Reference(spec, inputs, sample)
    results = [whole.y.value, *(term.value for term in whole.gradients)]
    for actual, expected in zip(part.select(results), [part.y, *part.gradients], strict=True):
        np.testing.assert_allclose(actual, expected.value, atol=1e-12)
    assert tm.verify(layer.replace(in_features=4000, experts=(300, 200)), ("numpy",)).passed


def test_what_would_take_too_long_is_refused_before_anything_is_computed() -> None:
    huge = tm.MuMoESpec(768, 3072, 64, tm.Dense())
    with pytest.raises(tm.TensorMoEError, match=r'cores with 151,191,552 elements.*or with methods="proof"'):
        tm.verify(huge, ("numpy",))
    assert tm.verify(huge, ("numpy",), methods="proof").passed
    with pytest.raises(tm.TensorMoEError, match="batch_size"):
        tm.verify(CP, batch_size=0)
    with pytest.raises(tm.TensorMoEError, match="methods: received 'prove'"):
        tm.verify(CP, methods=("proof", "prove"))
    with pytest.raises(tm.TensorMoEError, match=r"methods: received \(\); name at least one"):
        tm.verify(CP, methods=())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": 3}, "^methods: received 3; choose one of 'proof'"),
        ({"methods": ()}, "^methods: .*name at least one"),
        ({"backends": 3}, "^backends: received 3; pass names"),
        ({"backends": ()}, "^backends: .*pass names"),
        ({"backends": "numpi"}, "^backend: received 'numpi'; choose one of .*numpy"),
        ({"backends": ("numpy", "numpi"), "methods": "proof"}, "^backend: received 'numpi'; choose one of"),
    ],
)
def test_what_is_neither_methods_nor_backends_is_refused(options: dict, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        tm.verify(CP, **options)


def test_a_backend_may_be_given_as_an_object() -> None:
    report = tm.verify(CP, (tm.get_backend("torch"),), methods="float")
    assert {check.subject.split()[0] for check in report.checks} == {"torch"}


@pytest.mark.parametrize("dtype", UNITS)
def test_rounding_is_that_of_the_type(dtype: str) -> None:
    values = np.random.default_rng(0).uniform(0.1, 1, size=1000) * 10.0 ** np.arange(-2, 3).repeat(200)
    values[:2] = 1 + 2.0**-8, 1 + 3 * 2.0**-8  # ties of bfloat16, to even
    expected = torch.tensor(values).to(torch.float32).to(getattr(torch, dtype)).double().numpy()
    if dtype == "float64":
        expected = values
    np.testing.assert_array_equal(round_to(values, dtype), expected)
    assert np.abs(expected / values - 1).max() <= UNITS[dtype]
    assert float(torch.finfo(getattr(torch, dtype)).eps) == 2 * UNITS[dtype]


def test_bounds_are_the_literatures() -> None:
    unit = UNITS["float32"]
    assert gamma(3, unit) == 3 * unit / (1 - 3 * unit)
    assert gamma(2**24, unit) == inf
    assert compound(0.5, 0.5) == 1.25
    assert Precision("bfloat16").rounding(8) == compound(gamma(8, unit), 2.0**-8)
    ops, single = CountingOps(), Precision("float32")
    a, b = Counted((3, 5), single), Counted((5, 2), single)
    product_ = ops.matmul(a, b)
    assert (product_.shape, product_.degree, product_.bound) == ((3, 2), 2, gamma(5, unit))
    assert ops.sum(a, axis=1).bound == gamma(4, unit)
    assert (a * a).bound == gamma(1, unit)
    assert (product_ + product_).bound == pytest.approx(compound(gamma(5, unit), gamma(1, unit)))
    assert ops.transpose(a, (1, 0)).shape == (5, 3)
    assert a[..., :-1].shape == (3, 4)


def test_no_error_exceeds_its_bound_where_rounding_is_worst() -> None:
    """Long sums of one sign in half precision: the bound holds, and is not far off."""
    spec = tm.MuMoESpec(2000, 1, 1, tm.Dense(), bias=False)
    report = tm.verify(spec, ("numpy", "torch"), methods="float")
    assert report.passed
    assert max(check.ratio for check in report.checks) < 1


def test_many_levels_of_many_experts_do_not_underflow() -> None:
    for experts in ((64,) * 3, (2,) * 6):
        report = tm.verify(tm.MuMoESpec(64, 16, experts, tm.CP(8)), ("numpy", "torch"), methods="float")
        assert report.passed, str(report)


def test_an_infinite_bound_bounds_nothing() -> None:
    assert not Check("float", "numpy", "output", 0.5, inf).passed


def test_a_bound_beyond_what_is_possible_is_not_shown() -> None:
    checks = [Check("float", "", "", 0.25, bound, limit=1.0) for bound in (0.5, 19.0)]
    usual, empty = (str(tm.VerificationReport(CP, (check,))) for check in checks)
    assert "5.0e-01   0.500" in usual
    assert "2.5e-01       –       –" in empty


def test_one_backend_needs_no_tuple() -> None:
    for backends in ("numpy", tm.get_backend("numpy")):
        report = tm.verify(CP, backends, methods="float")
        assert {check.subject.split()[0] for check in report.checks} == {"numpy"}


def test_a_module_is_not_a_subject() -> None:
    layer = tm.build(CP, "numpy", seed=0)
    for call in (tm.verify, tm.prove):
        with pytest.raises(tm.TensorMoEError, match=r"received <class .*MuMoE'>; .*pass layer\.spec"):
            call(layer)


def test_exact_arithmetic_says_what_it_did_not_see() -> None:
    small, large = CP, CP.replace(in_features=500, out_features=50)
    assert "random part of its entries" not in str(tm.verify(small, methods="exact"))
    assert "random part of its entries" in str(tm.verify(large, methods="exact"))


def test_largest_finds_the_entry_closest_to_its_bound() -> None:
    assert largest(np.array([1.0, 2.0, 0.0]), np.array([4.0, 16.0, 0.0])) == (1.0, 4.0)
    assert np.isnan(largest(np.array([1.0, nan]), np.array([4.0, 16.0]))[0])
    assert largest(np.zeros((0, 3)), np.zeros((0, 3))) == (0.0, 0.0)


@pytest.mark.parametrize(("levels", "bias"), [*product([1, 2, 3], [True, False])])
def test_the_degree_is_the_number_of_factors(levels: int, bias: bool) -> None:
    experts = (3, 2, 4)[:levels]
    assert degree(Stage(4, 5, experts, tm.CP(3), bias)) == 1 + levels + levels + 2
    assert degree(Stage(4, 5, experts, tm.Dense(), bias)) == 1 + levels + 1


def test_integer_inputs_have_no_limit() -> None:
    inputs = integer_inputs(CP.layers["cores"], np.random.default_rng(0), 2, 2**61 - 1)
    assert all(value.dtype == object for value in inputs.operands)
    assert isinstance(inputs.x[0, 0] ** 20, int)


@pytest.mark.parametrize(
    ("notation", "experts", "formula"),
    [("n r, i r, o r", 4, "nr,ir,or->nio"), ("n1 r, n2 r, i r, o r", (4, 2), "nr,mr,ir,or->nmio")],
)
def test_the_reference_reads_a_network_of_ones_own(
    notation: str, experts: int | tuple[int, ...], formula: str
) -> None:
    (stage,) = tm.MuMoESpec(5, 6, experts, tm.TensorNetwork(notation, r=3)).layers.values()
    generator = np.random.default_rng(0)
    cores = [generator.normal(size=shape) for shape in stage.network.shapes.values()]
    np.testing.assert_allclose(
        weight_of_family(stage, cores), np.einsum(formula, *cores), rtol=1e-12, atol=1e-12
    )


def test_an_entrys_roundings_are_those_of_its_products_and_sums() -> None:
    a, b, c = (
        IndexedArray(tuple(name), np.ones(shape))
        for name, shape in (("ij", (3, 4)), ("jk", (4, 5)), ("kl", (5, 2)))
    )
    assert contract([a, b], ("i", "k")).roundings == 1 + 3
    assert contract([a, b, c], ("i", "l")).roundings == 1 + 3 + 1 + 4
    assert contract([IndexedArray(a.indices, a.value, 7), b], ("i", "k")).roundings == 7 + 1 + 3

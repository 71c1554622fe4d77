"""Does what a person with the wheel and no framework can do; `make dist` runs it in an empty environment."""

import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tensormoe as tm

HERE = Path(__file__).parents[2]


def refusal(spec: tm.Spec, backend: str) -> str:
    """What is said to a person who asks for a framework that is not installed."""
    try:
        tm.build(spec, backend)
    except tm.TensorMoEError as error:
        return str(error)
    return ""


def main() -> None:
    assert HERE / "tensormoe" not in Path(tm.__file__).parents, "the checkout was imported, not the wheel"
    assert not {"torch", "jax"} & {*sys.modules}
    files = {str(path) for path in distribution("tensormoe").files or ()}
    for package in ("tensormoe", "tensormoe_numpy", "tensormoe_torch", "tensormoe_jax"):
        assert f"{package}/py.typed" in files, package
        assert find_spec(package), package

    assert "Theorem program_is_soft_moe" in tm.prove(tm.MuMoESpec(8, 6, 4, tm.CP(5))).to_coq()
    spec = tm.MuMoEBlockSpec(8, 6, 4, experts=(3, 2), factorization=tm.CP(rank=5))
    layer = tm.build(spec, "numpy", seed=0)
    assert layer(np.ones((7, 8), dtype="float32")).shape == (7, 4)
    assert tm.verify(spec, ("numpy",)).passed
    for name in ("torch", "jax"):
        assert f"tensormoe[{name}]" in refusal(spec, name)
    print(f"tensormoe {tm.__version__} works with NumPy {np.__version__} alone")


if __name__ == "__main__":
    main()

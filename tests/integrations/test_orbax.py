"""Orbax: parameters saved in shards are restored on one device, and the reverse; of eight devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.quick_xla import with_devices

pytest.importorskip("orbax.checkpoint")

PROGRAM = """
import sys
import jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec as P
import tensormoe as tm, tensormoe_jax

assert jax.device_count() == 8
spec = tm.MuMoEBlockSpec(6, 8, 6, 4, tm.CP(8), gate=tm.Gate(norm="batch"))
mesh = jax.make_mesh((8,), ("model",))
parameters, state = tensormoe_jax.initialize(spec, seed=3)
parts = tensormoe_jax.partition_specs(spec, rank="model")
spread = {name: NamedSharding(mesh, parts.get(name, P())) for name in (*parameters, *state)}
alone = dict.fromkeys(spread, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
source, target = (spread, alone) if sys.argv[2] == "spread" else (alone, spread)
arrays = parameters | state
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(sys.argv[1], {name: jax.device_put(a, source[name]) for name, a in arrays.items()})
    checkpointer.wait_until_finished()
    shapes = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=target[n]) for n, a in arrays.items()}
    again = checkpointer.restore(sys.argv[1], shapes)
assert again.keys() == arrays.keys()
for name, array in again.items():
    assert array.sharding.is_equivalent_to(target[name], array.ndim), name
    assert np.array_equal(array, arrays[name]), name
"""


@pytest.mark.parametrize("saved", ["spread", "alone"])
def test_shards_are_saved_and_restored_where_they_are_wanted(saved: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "arrays"), saved],
        env={**with_devices(8), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]

"""A gated block on the bench: what it is compared with."""

import tensormoe as tm


def test_a_gated_block_is_compared_with_a_gated_mlp() -> None:
    spec = tm.MuMoEBlockSpec(8, 7, 6, 4, tm.CP(3), nonlinearity="silu", gated=True)
    report = tm.bench(spec, "numpy", 10, rounds=1)
    sides = {each.side: each for each in report.measurements}
    i, h, o = spec.features
    assert sides["MLP"].parameters == 2 * (i + 1) * h + (h + 1) * o
    assert sides["MLP"].macs == 10 * (2 * i * h + h * o)
    assert f"MLP: {i} → {h} → {o}, gated with silu, dense" in str(report)

"""Lightning: a specification is a hyperparameter like any other, and checkpoints load by default."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning")

import lightning
import torch

import tensormoe as tm

SPECS = (
    tm.MuMoESpec(8, 4, 6, tm.CP(3), tm.Gate("softmax", "batch", tm.AdaptiveClustering())),
    tm.MuMoEBlockSpec(8, 6, 4, (3, 2), tm.TensorRing((2, 2, 2, 2)), tm.Gate(tm.Activation("top_k", k=1))),
    tm.MuMoESpec(8, 4, 6, tm.TensorNetwork("n r, i r, r o", r=2)),
)


class Regression(lightning.LightningModule):
    """A model that is a layer."""

    def __init__(self, spec: tm.Spec) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = tm.build(spec, "torch", seed=0)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        (x,) = batch
        return (self.layer(x) - x[:, :4]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec.factorization).__name__)
def test_hyperparameters_hold_a_specification(spec: tm.Spec, tmp_path: Path) -> None:
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=16)
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    model, path = Regression(spec), tmp_path / "model.ckpt"
    trainer = lightning.Trainer(max_epochs=1, **quiet)
    trainer.fit(model, data)
    trainer.save_checkpoint(path)

    again = Regression.load_from_checkpoint(path)
    assert again.hparams["spec"] == again.layer.spec == spec
    assert torch.equal(again.eval().layer(x), model.eval().layer(x))
    lightning.Trainer(max_epochs=2, **quiet).fit(Regression(spec), data, ckpt_path=path)

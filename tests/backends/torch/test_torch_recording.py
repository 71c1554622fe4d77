"""Recording in PyTorch: batches of transformers' kind, compiled models, checkpointing, copies."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from analysis.recordings import assert_measures, build
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import tensormoe as tm
from tensormoe.analysis import record, recording
from tensormoe_torch import MuMoE


class Classifier(nn.Module):
    """Called as models of transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.block = build("torch", [(4, 2)])[0]
        self.head = build("torch", [(3,)], seed=7)[0]

    def forward(self, input_ids: Any, attention_mask: Any = None, scale: float = 1.0) -> dict[str, Any]:
        return {"logits": self.head(self.block(scale * self.embedding(input_ids)).mean(1))}


def test_mappings_are_batches_with_labels_masks_and_ids(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier()
    ids = torch.randint(9, (6, 4))
    mask = (torch.arange(4) < torch.tensor([[4], [2], [1], [0], [3], [4]])).long()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    parts = [slice(0, 2), slice(2, 6)]
    data = [{"input_ids": ids[own], "attention_mask": mask[own], "labels": labels[own]} for own in parts]
    columns = {"token": "input_ids", "image": lambda batch: torch.arange(len(batch["labels"]))}
    store = tmp_path / "store"
    recorded = record(model, data, labels="labels", columns=columns, store=store, progress=False)

    keep = mask.bool()
    with torch.no_grad():
        _, of_block = model.block(model.embedding(ids), return_coefficients=True)
        _, of_head = model.head(model.block(model.embedding(ids)).mean(1), return_coefficients=True)
    spread = labels[:, None].expand(6, 4)[keep]
    assert_measures(recorded["block"], [a[keep].numpy() for a in of_block], spread.numpy())
    rows = keep.any(1)
    assert_measures(recorded["head"], [a[rows].numpy() for a in of_head], labels[rows].numpy())
    (chunk,) = recorded.chunks("block")
    assert chunk.columns["token"].tolist() == ids[keep].tolist()
    image = torch.tensor([0, 1, 0, 1, 2, 3])
    assert chunk.columns["image"].tolist() == image[:, None].expand(6, 4)[keep].tolist()
    everything = record(model, data, labels="labels", mask=None, progress=False)
    assert everything["block"].tokens == 24
    half = record(model, data, labels="labels", mask=lambda batch: batch["input_ids"] < 4, progress=False)
    assert half["block"].tokens == int((ids < 4).sum())


def test_a_data_loader_gives_lists(capsys: pytest.CaptureFixture[str]) -> None:
    model = build("torch", [(3,)])
    x, labels = torch.randn(10, 5), torch.arange(10) % 4
    loader = DataLoader(TensorDataset(x, labels), batch_size=4)
    recorded = record(model, loader, labels=-1)
    assert_measures(recorded["0"], [model[0](x, True)[1][0].detach().numpy()], labels.numpy())
    output = capsys.readouterr()
    assert output.out == ""
    assert "3/3" in output.err


def test_a_compiled_model_is_recorded_and_stays_compiled() -> None:
    graphs = []

    def compiler(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = build("torch", [(3,)]).eval()
    compiled = torch.compile(model, backend=compiler)
    x = torch.randn(6, 5)
    compiled(x)
    count = len(graphs)
    recorded = record(compiled, [x], progress=False)
    assert [(name, each.tokens) for name, each in recorded.items()] == [("_orig_mod.0", 6)]
    compiled(x)
    assert len(graphs) == count >= 1


def test_what_is_run_again_for_the_backward_pass_counts_once() -> None:
    model = build("torch", [(3,)])
    with recording(model) as recorded:
        x = torch.randn(6, 5, requires_grad=True)
        checkpoint(model, x, use_reentrant=False).sum().backward()
    assert recorded["0"].tokens == 6


def test_copies_made_in_the_context_do_not_record() -> None:
    model = build("torch", [(3,)])
    with recording(model) as recorded:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            twin(torch.randn(6, 5))
    assert recorded["0"].tokens == 0


def test_what_other_hooks_put_in_place_of_coefficients_is_recorded() -> None:
    layer = MuMoE(5, 2, 3, tm.CP(2))
    steered = torch.tensor([[0.0, 1.0, 0.0]])
    layer.gate.register_forward_hook(lambda gate, inputs, output: (steered.expand(4, 3),))
    recorded = record(layer, [torch.randn(4, 5)], progress=False)
    assert recorded[""].load()[0].tolist() == [0, 1, 0]


def test_gradients_flow_and_none_is_kept() -> None:
    model = build("torch", [(3,)])
    with recording(model) as recorded:
        model(torch.randn(6, 5)).sum().backward()
    assert model[0].gate_weights[0].grad is not None
    assert recorded["0"].tokens == 6
    seen = []
    record(model, [torch.randn(6, 5)], call=lambda model, x: seen.append(model(x)), progress=False)
    assert not seen[0].requires_grad


def test_half_precision_is_stored_bit_for_bit(tmp_path: Path) -> None:
    layer = MuMoE(5, 2, 3, tm.CP(2)).bfloat16()
    x = torch.randn(6, 5).bfloat16()
    recorded = record(layer, [x], store=tmp_path / "store", progress=False)
    expected = layer(x, True)[1][0]
    (chunk,) = recorded.chunks("")
    stored = torch.from_numpy(chunk.coefficients[0].view("int16")).view(torch.bfloat16)
    assert (stored == expected).all()


def test_coefficients_that_are_overwritten_later_are_stored_as_they_were(tmp_path: Path) -> None:
    layer = MuMoE(5, 2, 4, tm.CP(2))
    with torch.no_grad(), recording(layer, store=tmp_path / "store") as recorded:
        _, (a,) = layer(torch.randn(6, 5), return_coefficients=True)
        a.zero_()
    (chunk,) = recorded.chunks("")
    assert (chunk.coefficients[0] == 0.25).all()


def test_modes_of_single_modules_are_given_back() -> None:
    model = build("torch", [(3,)])
    model[-1].eval()
    record(model, [torch.randn(6, 5)], progress=False)
    assert [each.training for each in model] == [True, True, False]


def test_parameters_of_no_device_leave_batches_where_they_are() -> None:
    class Offloaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.empty(3, device="meta"))
            self.layer = MuMoE(5, 2, 3, tm.CP(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    assert record(Offloaded(), [torch.randn(6, 5)], progress=False)["layer"].tokens == 6

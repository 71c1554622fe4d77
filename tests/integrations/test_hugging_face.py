"""Layers in models of transformers, and accelerate's offloading."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import MuMoE, MuMoEBlock, huggingface

transformers = pytest.importorskip("transformers")

GATE = tm.Gate("softmax", "batch")
SPEC = tm.MuMoEBlockSpec(32, 64, 32, (8, 4), tm.TensorRing((2, 3, 4, 8)), GATE, input_norm=True)


class Blocks(transformers.GPT2Model):
    """A GPT-2 whose MLPs are blocks, with the recipe for initial values."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.h:
            layer.mlp = tm.build(SPEC, "torch")
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, tensormoe_torch.TensorGroup):
            module.reset_parameters()


class Upcycled(transformers.GPT2LMHeadModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transformer = Blocks(config)
        self.post_init()


def config() -> Any:
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2, **ids)


def assert_initial(block: nn.Module) -> None:
    """Each array is distributed as `tm.initialize` draws it, which is another draw."""
    parameters, state = tm.initialize(SPEC, seed=0)
    actual = block.state_dict()
    assert actual.keys() == (parameters | state).keys()
    for name, expected in (parameters | state).items():
        value = actual[name].float().numpy()
        assert np.isfinite(value).all(), name
        assert ((value == 0) == (expected == 0)).all(), name
        assert abs(value).max() < 4 * abs(expected).max() + 1e-6, name
        assert abs(value.std() - expected.std()) < 0.6 * expected.std() + 1e-6, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dense_checkpoint_is_loaded_into_a_model_with_blocks(dtype: torch.dtype, tmp_path: Path) -> None:
    dense = transformers.GPT2LMHeadModel(config())
    dense.save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = Upcycled.from_pretrained(tmp_path, dtype=dtype)
    blocks = [layer.mlp for layer in model.transformer.h]
    for block in blocks:
        assert block.dtype == dtype
        assert_initial(block)
    assert (blocks[0].first["input"] != blocks[1].first["input"]).any()
    assert torch.equal(model.transformer.wte.weight, dense.transformer.wte.weight.to(dtype))
    ids = torch.arange(16)[None]
    assert torch.isfinite(model(ids, labels=ids).loss)


def test_a_model_with_blocks_survives_save_and_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Upcycled(config()).eval()
    for layer in model.transformer.h:
        assert_initial(layer.mlp)
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    loaded = Upcycled.from_pretrained(tmp_path).eval()
    ids = torch.arange(16)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


class Tied(transformers.GPT2Model):
    """A GPT-2 whose blocks have the same experts in their first layers."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.h:
            layer.mlp = tm.build(SPEC, "torch")
        self._tied_weights_keys = tensormoe_torch.share(self, "h.*.mlp.first.expert1")
        self.post_init()


def test_a_core_that_blocks_share_is_saved_once_and_loaded_as_one(tmp_path: Path) -> None:
    model = Tied(config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    model.save_pretrained(tmp_path)
    safetensors = pytest.importorskip("safetensors.torch")
    names = [*safetensors.load_file(tmp_path / "model.safetensors")]
    assert [name for name in names if name.endswith("first.expert1")] == ["h.0.mlp.first.expert1"]
    loaded = Tied.from_pretrained(tmp_path).eval()
    first, second = (layer.mlp.first["expert1"] for layer in loaded.h)
    assert first is second
    assert torch.equal(first, model.h[0].mlp.first["expert1"])
    ids = torch.arange(16)[None]
    assert torch.equal(loaded(ids).last_hidden_state, model(ids).last_hidden_state)


def test_construction_on_meta_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("tensormoe_torch._values.initialize", refuse)
    with torch.device("meta"):
        assert Upcycled(config()).transformer.h[0].mlp.device.type == "meta"


def test_output_recorders_see_coefficients_and_logits() -> None:
    """Transformers' own hooks, by the class of the submodule."""
    from transformers.utils.output_capturing import OutputRecorder

    class Recording(Blocks):
        _can_record_outputs = {  # noqa: RUF012, as transformers writes it
            "coefficients": OutputRecorder(tensormoe_torch.GateModule, index=1),
            "router_logits": OutputRecorder(tensormoe_torch.RouterModule, index=0),
        }

    model = Recording(config()).eval()
    output = model(torch.arange(16)[None], output_coefficients=True, output_router_logits=True)
    assert [tuple(a.shape) for a in output["coefficients"]] == 2 * [(1, 16, 4)]
    assert [tuple(z.shape) for z in output["router_logits"]] == 2 * [(1, 16, 8)]
    torch.testing.assert_close(output["coefficients"][0].sum(-1), torch.ones(1, 16))


class Regression(nn.Module):
    """A model of the user's own, which is no PreTrainedModel."""

    def __init__(self) -> None:
        super().__init__()
        self.moe = MuMoE(8, 6, 4, tm.CP(3), seed=0)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.moe(x)
        return {"loss": (y - labels).square().mean(), "logits": y}


def test_the_trainer_saves_and_resumes_a_plain_module(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    generator = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(8, generator=generator), "labels": torch.ones(6)} for _ in range(16)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        save_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trained = Regression()
    transformers.Trainer(trained, arguments, train_dataset=data).train()
    assert (tmp_path / "checkpoint-2").exists()
    resumed = Regression()
    trainer = transformers.Trainer(resumed, arguments, train_dataset=data)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for ours, theirs in zip(resumed.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


class Entries(transformers.TrainerCallback):
    """Keeps what the callbacks that write logs get, when they get it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **options: Any) -> None:
        self.seen.append(dict(logs))


def test_the_trainer_logs_the_use_of_experts_before_others_write_it(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    data = [{"x": row, "labels": torch.ones(6)} for row in torch.randn(16, 8)]
    model = Regression()
    nn.init.normal_(next(iter(model.moe.gate_weights.values())))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        per_device_train_batch_size=16,
        learning_rate=0,
        save_strategy="no",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    writer = Entries()
    evaluated = [{**row, "x": 100 * row["x"]} for row in data]
    trainer = transformers.Trainer(
        model, arguments, train_dataset=data, eval_dataset=evaluated, callbacks=[writer]
    )
    huggingface.log_experts(trainer, tm.analysis.summary)
    trainer.train()
    _, coefficients = model.moe(torch.stack([row["x"] for row in data]), return_coefficients=True)
    expected = tm.analysis.summary(model.moe.spec, [each.detach() for each in coefficients])
    for entries in (writer.seen, trainer.state.log_history):
        losses = [entry for entry in entries if "loss" in entry]
        assert len(losses) == 2
        for entry in losses:
            for name, value in expected.items():
                assert entry[f"moe/{name}"] == pytest.approx(value, rel=1e-5)
        assert not any("moe/level1/dead" in entry for entry in entries if "loss" not in entry)
    assert not model.moe.gate._forward_hooks


@pytest.mark.parametrize("trainer", [None, "Trainer"])
def test_what_is_not_a_trainer_logs_no_experts(trainer: object) -> None:
    with pytest.raises(tm.TensorMoEError, match=r"trainer: received .*; pass a transformers.Trainer"):
        huggingface.log_experts(trainer, tm.analysis.summary)


@pytest.mark.parametrize("where", ["cpu", "disk", "cpu with buffers"])
def test_offloaded_layers_give_the_same(where: str, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = nn.Sequential(
        nn.Linear(8, 8),
        MuMoE(8, 6, (4, 3), tm.TensorRing((2, 3, 4, 3)), gate=GATE, seed=0),
        MuMoEBlock(6, 7, 5, 4, tm.CP(3), input_norm=True, seed=0),
    ).eval()
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    expected, weight = model(x).detach(), model[1].materialize().detach()
    device = torch.device("cpu")
    if where == "disk":
        accelerate.disk_offload(model, str(tmp_path), execution_device=device)
    else:
        accelerate.cpu_offload(model, execution_device=device, offload_buffers="buffers" in where)
    assert all(parameter.is_meta for parameter in model.parameters())
    for _ in range(2):
        assert torch.equal(model(x), expected)
    assert torch.equal(model[1].materialize(), weight)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_clusters_go_through_a_gpt2_that_knows_nothing_of_them(reentrant: bool | None) -> None:
    """Training under the model's own checkpoints, evaluation, and generation with a cache."""
    plain, checkpointed = (clustered() for _ in range(2))
    if reentrant is not None:
        checkpointed.gradient_checkpointing_enable({"use_reentrant": reentrant})
    ids = torch.arange(16)[None]
    for model, routing in ((plain, by_side_channel), (checkpointed, tensormoe_torch.routed)):
        with routing(model):
            for _ in range(2):
                model(inputs_embeds=model.transformer.wte(ids), labels=ids).loss.backward()
    for (name, ours), theirs in zip(checkpointed.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6, msg=name)
    for (name, ours), theirs in zip(checkpointed.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=name)
    plain.eval()
    checkpointed.eval()
    arguments = {"max_new_tokens": 6, "do_sample": False}
    with by_side_channel(plain):
        expected = plain.generate(ids[:, :8], use_cache=False, **arguments)
    with tensormoe_torch.routed(checkpointed):
        assert torch.equal(checkpointed.generate(ids[:, :8], use_cache=True, **arguments), expected)


def clustered() -> Any:
    """A GPT-2 whose blocks but the first have the router of adaptive clustering."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config())
    for number, layer in enumerate(model.transformer.h):
        gate = tm.Gate("softmax", router=tm.AdaptiveClustering()) if number else tm.Gate("softmax")
        layer.mlp = MuMoEBlock(32, 64, 32, 8, tm.CP(6), gate=gate, seed=number)
        nn.init.normal_(layer.mlp.gate_weights[0])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


@contextmanager
def by_side_channel(model: Any) -> Iterator[None]:
    """What a user writes: each block gets the coefficients of the one before by a hook."""
    blocks = [layer.mlp for layer in model.transformer.h]
    kept: list[Any] = [None]

    def give(block: nn.Module, arguments: Any, keywords: Any) -> Any:
        kept[0] = None if block is blocks[0] else kept[0]
        return arguments, {**keywords, "previous": kept[0]}

    def keep(gate: nn.Module, arguments: Any, coefficients: Any) -> None:
        kept[0] = list(coefficients)

    handles = [block.register_forward_pre_hook(give, with_kwargs=True) for block in blocks]
    handles += [block.gate.register_forward_hook(keep) for block in blocks]
    yield
    for handle in handles:
        handle.remove()

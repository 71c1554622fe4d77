"""`tensormoe_torch.replace` on models of transformers, and these models saved and loaded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, huggingface, replace

transformers = pytest.importorskip("transformers")

IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
TEXT = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 32}
VISION = {"hidden_size": 32, "intermediate_size": 48, "image_size": 8, "patch_size": 4}
DEPTH = {"num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = {"input_ids": torch.arange(1, 9)[None], "attention_mask": torch.ones(1, 8, dtype=torch.long)}
IMAGE = {"pixel_values": torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))}


def gpt2(**options: Any) -> Any:
    sizes = {"vocab_size": 64, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return transformers.GPT2Config(**sizes, **IDS, **options)


def models() -> dict[str, tuple[Callable[[], Any], str, str, dict[str, torch.Tensor]]]:
    """By name: how to make a model, what to replace, how many modules, and the input."""
    t = transformers
    llama = t.LlamaConfig(**TEXT, **DEPTH, **IDS)
    mistral = {**TEXT, **DEPTH, **IDS, "num_key_value_heads": 2}
    mixtral = t.MixtralConfig(**TEXT, **DEPTH, **IDS, num_key_value_heads=2, num_local_experts=4)
    clip = t.CLIPVisionConfig(**VISION, **DEPTH)
    gemma = t.GemmaConfig(**TEXT, **DEPTH, **IDS, head_dim=16, num_key_value_heads=1)
    sizes = {"d_model": 32, "d_ff": 48, "d_kv": 16, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
    t5 = t.T5Config(vocab_size=64, **sizes, feed_forward_proj="gated-gelu", pad_token_id=0)
    return {
        "GPT-2": (lambda: t.GPT2LMHeadModel(gpt2()), "mlp", TOKENS),
        "GPT-2 attention": (lambda: t.GPT2LMHeadModel(gpt2()), "c_attn", TOKENS),
        "BERT": (lambda: t.BertForMaskedLM(t.BertConfig(**TEXT, **DEPTH)), "intermediate", TOKENS),
        "ViT": (lambda: t.ViTForImageClassification(t.ViTConfig(**VISION, **DEPTH)), "mlp", IMAGE),
        "CLIP vision": (lambda: t.CLIPVisionModel(clip), "mlp", IMAGE),
        "Llama": (lambda: t.LlamaForCausalLM(llama), "mlp", TOKENS),
        "Mistral": (lambda: t.MistralForCausalLM(t.MistralConfig(**mistral)), "mlp", TOKENS),
        "Qwen2": (lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**mistral)), "mlp", TOKENS),
        "Gemma": (lambda: t.GemmaForCausalLM(gemma), "mlp", TOKENS),
        "T5": (lambda: t.T5EncoderModel(t5), "DenseReluDense", TOKENS),
        "Mixtral": (lambda: t.MixtralForCausalLM(mixtral), "[qv]_proj", TOKENS),
    }


MODELS = models()
every_model = pytest.mark.parametrize("name", MODELS)


def stir(model: nn.Module) -> None:
    """Give each parameter another value than its initial one, and statistics too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in [*model.parameters(), *(b for n, b in model.named_buffers() if "gate_mean" in n)]:
            value += 0.05 * torch.randn(value.shape, generator=generator)


def replaced(name: str, **options: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    make, where, x = MODELS[name]
    torch.manual_seed(0)
    model = make()
    pattern = where if where.isidentifier() else f"*.{where}"
    gate = tm.Gate("softmax", "batch")
    report = replace(model, pattern, **{"experts": 4, "factorization": tm.CP(3), "gate": gate, **options})
    assert len(report.rows) == (4 if name == "Mixtral" else 2)
    stir(model)
    return model.eval(), x


def test_gated_mlps_keep_their_nonlinearities_and_have_no_biases() -> None:
    for name, nonlinearity in {"Llama": "silu", "Gemma": "gelu_tanh"}.items():
        model, _ = replaced(name, match="parameters")
        spec = model.model.layers[0].mlp.spec
        assert (spec.gated, spec.nonlinearity, spec.bias) == (True, nonlinearity, False)
        assert 0.9 * 3 * 32 * 48 < spec.num_parameters <= 3 * 32 * 48


def test_experts_that_start_as_the_mlps_give_the_models_logits() -> None:
    for name in ("GPT-2", "BERT", "Llama", "T5", "CLIP vision"):
        make, where, x = MODELS[name]
        torch.manual_seed(0)
        model = make().eval()
        expected = model(**x)[0]
        replace(model, where, experts=4, factorization=tm.CP(49), init="upcycle")
        torch.testing.assert_close(model(**x)[0], expected, rtol=0, atol=1e-5)


def assert_finite(output: torch.Tensor) -> None:
    assert torch.isfinite(output).all()


@every_model
def test_each_replaced_module_gives_what_its_specification_says(name: str) -> None:
    """The module's own input goes through NumPy, in float64, and through what follows it in the model."""
    model, x = replaced(name)
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def note(at: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.update({at: (inputs[0], output)})

    layers = {n: m for n, m in model.named_modules() if isinstance(m, MuMoE | MuMoEBlock)}
    for at, layer in layers.items():
        layer.register_forward_hook(note(at))
    assert_finite(model(**x)[0])
    assert seen.keys() == layers.keys()
    for at, (given, output) in seen.items():
        values = {n: v.detach().double().numpy() for n, v in layers[at].state_dict().items()}
        spec = layers[at].spec
        parameters = {n: values[n] for n in spec.parameter_shapes}
        state = {n: values[n] for n in spec.state_shapes}
        expected = tm.apply(spec, parameters, given.detach().double().numpy(), state=state).y
        np.testing.assert_allclose(output.detach().numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("auto", [False, True], ids=["class", "auto"])
@every_model
def test_a_model_that_is_saved_and_loaded_gives_the_same_bits(name: str, auto: bool, tmp_path: Path) -> None:
    model, x = replaced(name)
    model.save_pretrained(tmp_path)
    kind = type(model)
    if auto:
        tasks = {
            "GPT2LMHeadModel": "CausalLM",
            "BertForMaskedLM": "MaskedLM",
            "CLIPVisionModel": "",
            "T5EncoderModel": "TextEncoding",
        }
        task = tasks.get(kind.__name__, "ImageClassification" if "ViT" in kind.__name__ else "CausalLM")
        kind = getattr(transformers, f"AutoModel{f'For{task}' if task else ''}")
    loaded, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(model)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(loaded(**x)[0], model(**x)[0])
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_half_precision_survives_with_statistics_in_full(tmp_path: Path) -> None:
    model, x = replaced("GPT-2")
    model.bfloat16()
    assert model.transformer.h[0].mlp.dtype == torch.bfloat16
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.transformer.h[0].mlp.dtype == torch.bfloat16
    assert torch.equal(loaded(**x).logits, model(**x).logits)


def test_loading_draws_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = replaced("GPT-2")
    model.save_pretrained(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("tensormoe_torch._values.initialize", refuse)
    monkeypatch.setattr("tensormoe_torch._values.initialize_constants", refuse)
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert torch.equal(loaded(**x).logits, model(**x).logits)


def test_models_with_another_head_or_none_have_the_same_layers(tmp_path: Path) -> None:
    model, x = replaced("GPT-2")
    hidden = model.transformer(**x)[0]
    model.save_pretrained(tmp_path / "head")
    base = transformers.AutoModel.from_pretrained(tmp_path / "head")
    assert type(base) is transformers.GPT2Model
    assert torch.equal(base(**x)[0], hidden)
    base.save_pretrained(tmp_path / "base")
    for kind in (transformers.GPT2LMHeadModel, transformers.GPT2ForSequenceClassification):
        assert torch.equal(kind.from_pretrained(tmp_path / "base").transformer(**x)[0], hidden)


def test_a_model_of_two_models_names_the_layers_of_each(tmp_path: Path) -> None:
    text = transformers.CLIPTextConfig(**TEXT, **DEPTH, **IDS)
    vision = transformers.CLIPVisionConfig(**VISION, **DEPTH)
    config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    model = transformers.CLIPModel(config)
    replace(model, "vision_model.*.mlp", experts=4, factorization=tm.CP(3))
    stir(model.eval())
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModel.from_pretrained(tmp_path)
    x = {**TOKENS, **IMAGE}
    # A dense CLIPModel too differs in the last bit: a sum depends on where its terms are in memory.
    torch.testing.assert_close(loaded(**x).logits_per_image, model(**x).logits_per_image, rtol=0, atol=1e-6)
    alone = transformers.CLIPVisionModel.from_pretrained(tmp_path)
    assert torch.equal(alone(**IMAGE)[0], model.vision_model(**IMAGE)[0])


def test_a_dense_checkpoint_gets_layers_with_initial_values(tmp_path: Path) -> None:
    dense = transformers.GPT2LMHeadModel(gpt2())
    dense.save_pretrained(tmp_path)
    model, x = replaced("GPT-2")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    config.tensormoe = model.config.tensormoe
    torch.manual_seed(3)
    for made in (
        transformers.GPT2LMHeadModel.from_pretrained(tmp_path, config=config),
        transformers.AutoModelForCausalLM.from_config(config),
    ):
        first, second = (layer.mlp for layer in made.transformer.h)
        for block in (first, second):
            parameters, state = tm.initialize(block.spec, seed=0)
            for key, expected in (parameters | state).items():
                value = block.state_dict()[key].numpy()
                assert ((value == 0) == (expected == 0)).all(), key
                assert abs(value).max() < 4 * abs(expected).max() + 1e-6, key
        assert (first.first["input"] != second.first["input"]).any()
        assert_finite(made(**x).logits)
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, config=config)
    assert torch.equal(loaded.transformer.wte.weight, dense.transformer.wte.weight)


def test_a_part_of_the_weights_is_kept_and_the_rest_initialized(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model, _ = replaced("GPT-2")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    missing = "transformer.h.0.mlp.first.expert1"
    del tensors[missing]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded[key], value) == (key != missing), key
    assert 0.1 < loaded[missing].abs().max() < 6


def test_the_configuration_names_what_the_model_has_and_undo_what_it_had() -> None:
    model = transformers.GPT2LMHeadModel(gpt2())
    before = model.config.to_json_string()
    given = model.config
    report = replace(model, "mlp", experts=4, factorization=tm.CP(3))
    # Another model may be made from the same configuration.
    assert given.to_json_string() == before
    assert model.transformer.config is model.config
    entry = json.loads(model.config.to_json_string())["tensormoe"]
    assert entry["modules"] == {"transformer.h.0.mlp": 0, "transformer.h.1.mlp": 0}
    assert entry["specs"] == [model.transformer.h[1].mlp.spec.to_dict()]
    again = replace(model, "transformer.h.0.attn.c_attn", experts=4, factorization=tm.CP(3))
    assert len(model.config.tensormoe["modules"]) == 3
    again.undo()
    assert model.config.tensormoe == entry
    replace(model, "mlp", experts=4, factorization=tm.CP(3), build=lambda old: old.spec, dry_run=True)
    report.undo()
    assert model.config.to_json_string() == before
    model.transformer.h[0].mlp = tm.build(tm.MuMoEBlockSpec(32, 8, 32, 4, tm.CP(3)), "torch")
    huggingface.record(model)
    assert list(model.config.tensormoe["modules"]) == ["transformer.h.0.mlp"]


def uniform(ops: Any, z: Any) -> Any:
    return z * 0 + 0.25


def test_a_gate_with_a_function_cannot_be_saved_and_says_so() -> None:
    model = transformers.GPT2LMHeadModel(gpt2())
    with pytest.warns(UserWarning, match=r"config\.tensormoe cannot name transformer\.h\.0\.mlp"):
        replace(model, "mlp", experts=4, factorization=tm.CP(3), gate=tm.Gate(uniform))
    assert not hasattr(model.config, "tensormoe")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"modules": {}}, "the field 'format' is missing"),
        ({"format": 99, "modules": {}}, "this version reads format 1: update tensormoe"),
        ({"format": 1}, r"config\.tensormoe\['specs'\]: received None"),
        ({"format": 1, "specs": []}, r"config\.tensormoe\['modules'\]: received None"),
        ({"format": 1, "specs": [], "modules": {"h.0.mlp": 0}}, r"\['h\.0\.mlp'\]: received 0"),
        ({"format": 1, "specs": [3], "modules": {"h.0.mlp": 0}}, "spec: received 3"),
        (3, r"config\.tensormoe: received 3"),
    ],
)
def test_an_entry_that_cannot_be_read_is_an_error(entry: object, message: str) -> None:
    huggingface.register()
    with pytest.raises(tm.TensorMoEError, match=message):
        transformers.GPT2Model(gpt2(tensormoe=entry))


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model, x = replaced("GPT-2", gate=tm.Gate())

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        torch.manual_seed(5)  # of the dropout
        model(**x, labels=x["input_ids"]).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    model.train()
    expected = gradients()
    model.gradient_checkpointing_enable()
    for ours, theirs in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_generation_with_a_cache_continues_as_without_one() -> None:
    model, x = replaced("GPT-2")
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    cached = model.generate(**x, **options)
    assert cached.shape == (1, 14)
    assert torch.equal(cached, model.generate(**x, **options, use_cache=False))


def test_mixtral_keeps_the_logits_of_its_own_routers() -> None:
    model, x = replaced("Mixtral")
    output = model(**x, labels=x["input_ids"], output_router_logits=True)
    assert [tuple(logits.shape) for logits in output.router_logits] == 2 * [(8, 4)]
    assert_finite(output.loss)


def test_the_trainer_saves_resumes_and_its_checkpoints_load(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    rows = torch.randint(0, 64, (16, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in rows]
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
    model, x = replaced("GPT-2", gate=tm.Gate())
    transformers.Trainer(model, arguments, train_dataset=data).train()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-4")
    assert torch.equal(loaded(**x).logits, model.eval()(**x).logits)
    resumed = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    trainer = transformers.Trainer(resumed, arguments, train_dataset=data)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for ours, theirs in zip(resumed.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_single_layer_goes_to_the_hub_and_back_by_a_class_that_takes_its_specification(
    tmp_path: Path,
) -> None:
    """The class of docs/transformers.md."""
    from huggingface_hub import PyTorchModelHubMixin

    class Layer(nn.Module, PyTorchModelHubMixin):
        def __init__(self, spec: str) -> None:
            super().__init__()
            self.layer = tm.build(tm.spec_from_json(spec), "torch")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)
            return y

    specs: tuple[tm.Spec, ...] = (
        tm.MuMoESpec(8, 6, (4, 2), tm.TensorRing((2, 2, 2, 3)), tm.Gate("softmax", "batch")),
        tm.MuMoEBlockSpec(8, 12, 8, 4, tm.CP(3), gated=True, nonlinearity="silu"),
    )
    for number, spec in enumerate(specs):
        saved = Layer(spec.to_json()).eval()
        saved.save_pretrained(tmp_path / str(number))
        loaded = Layer.from_pretrained(tmp_path / str(number))
        assert loaded.layer.spec == spec
        x = torch.randn(3, 8)
        assert torch.equal(loaded(x), saved(x))


def test_experts_beside_frozen_weights_train_alone_and_a_checkpoint_has_each_weight_once(
    tmp_path: Path,
) -> None:
    """GPT-2's MLPs and projections: the same logits at first and after `undo`; from disk, the same bits."""
    from safetensors import safe_open

    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(gpt2()).eval().requires_grad_(False)
    expected, dense = (
        model(**TOKENS).logits,
        {name: value.clone() for name, value in model.named_parameters()},
    )
    lora = tm.TensorNetwork("n i r, n r o", r=2)
    reports = [replace(model, name, experts=4, factorization=lora, frozen=True) for name in ("mlp", "c_attn")]
    torch.testing.assert_close(model(**TOKENS).logits, expected, rtol=0, atol=1e-6)
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert len(trained) == 2 * (2 * 2 + 1) + 2 * (2 + 1)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(**TOKENS, labels=TOKENS["input_ids"]).loss.backward()
        optimizer.step()
    assert (model(**TOKENS).logits - expected).abs().max() > 1e-3
    mlp = model.transformer.h[1].mlp
    assert torch.equal(mlp.first["W"], dense["transformer.h.1.mlp.c_fc.weight"])
    assert torch.equal(mlp.second["B"], dense["transformer.h.1.mlp.c_proj.bias"])
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        shapes = [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
    # Two layers' c_fc, which is there once for each, and no trained core of this shape.
    assert shapes.count((32, 128)) == 2
    assert (tmp_path / "config.json").read_text(encoding="utf-8").count("sha256") == 2 * 3
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(**TOKENS).logits, model(**TOKENS).logits)
    for report in reversed(reports):
        report.undo()
    assert torch.equal(model(**TOKENS).logits, expected)

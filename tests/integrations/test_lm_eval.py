"""lm-eval reads a language model with replaced MLPs as any other of transformers."""

from pathlib import Path

import pytest
import torch

import tensormoe as tm
import tensormoe_torch

pytest.importorskip(
    "lm_eval", reason='lm_eval is not installed: pip install -c constraints.txt -e ".[evaluation]"'
)
transformers = pytest.importorskip("transformers")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

SIZES = {"vocab_size": 384, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
PAIRS = [("Two and two is", " four"), ("A mixture of", " experts, all of them at once")]


def test_log_likelihoods_are_those_of_the_model() -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=0, eos_token_id=1))
    tensormoe_torch.replace(model, "mlp", experts=4, factorization=tm.CP(rank=8))
    tokenizer = transformers.ByT5Tokenizer()
    lm = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=2, add_bos_token=False)
    answers = lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in PAIRS])
    for (context, continuation), (log_probability, greedy) in zip(PAIRS, answers, strict=True):
        # A token is a byte, and the first 3 numbers are taken.
        tokens = torch.tensor([3 + byte for byte in (context + continuation).encode()])
        with torch.no_grad():
            logits = model(tokens[None]).logits[0, :-1].double()
        steps = logits.log_softmax(-1)[-len(continuation) :]
        expected = sum(step[token] for step, token in zip(steps, tokens[-len(continuation) :], strict=True))
        assert log_probability == pytest.approx(float(expected), rel=1e-5)
        assert greedy == bool((steps.argmax(-1) == tokens[-len(continuation) :]).all())


def test_models_are_rebuilt_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=0, eos_token_id=1))
    tensormoe_torch.replace(model, "mlp", experts=4, factorization=tm.CP(rank=8))
    model.save_pretrained(tmp_path)
    tensormoe_torch.huggingface.register()
    asked = [Instance("loglikelihood", {}, pair, 0) for pair in PAIRS]
    tokenizer = transformers.ByT5Tokenizer()
    in_memory, in_folder = (
        HFLM(pretrained=source, tokenizer=tokenizer, device="cpu", batch_size=1, add_bos_token=False)
        for source in (model, str(tmp_path))
    )
    assert in_folder.loglikelihood(asked) == in_memory.loglikelihood(asked)
    request = Instance("generate_until", {}, ("Two and", {"max_gen_toks": 4, "until": ["\n"]}), 0)
    assert in_folder.generate_until([request]) == in_memory.generate_until([request])

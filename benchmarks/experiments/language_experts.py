"""What the experts of a language model are for: which tokens, and where in the text."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tensormoe as tm
from tensormoe.typing import NumPyArray

from .language_data import Text
from .trial import Value

# Experts with less than this share of an equal load are too rare to say what they are for.
_RARE = 0.25
_TOKENS, _SNIPPETS, _BEFORE, _AFTER = 5, 3, 10, 3
_SEED = 0


def examine(model: torch.nn.Module, text: Text, batch: int, folder: Path) -> dict[str, Value]:
    """How many tokens an expert is for, and the most specialized expert of each layer.

    Args:
        model: of transformers.
        text: whose test part is read.
        batch: contexts at once.
        folder: to keep coefficients in for as long.
    """
    shutil.rmtree(folder, ignore_errors=True)
    x = text.test[:, :-1].contiguous()
    batches = [{"input_ids": part} for part in torch.split(x, batch)]
    columns = {"token": "input_ids"}
    recording = tm.analysis.record(model, batches, columns=columns, store=folder, progress=False)
    own, shuffled, experts = [], [], []
    best: list[Value] = []
    for name, layer in recording.items():
        a = np.concatenate([chunk.coefficients[0] for chunk in recording.chunks(name)])
        tokens = np.concatenate([chunk.columns["token"] for chunk in recording.chunks(name)])
        spread, chance = count_tokens(a, tokens), count_tokens(a, _shuffle(tokens))
        often = np.flatnonzero(tm.analysis.load(a) >= _RARE / a.shape[-1])
        own.append(float(spread[often].mean()))
        shuffled.append(float(chance[often].mean()))
        experts.append(float(layer.effective_experts()[0]))
        chosen = int(often[np.argmin((spread / chance)[often])])
        best.append({"layer": name, "expert": chosen, **_describe(a[:, chosen], x, text)})
    shutil.rmtree(folder)
    return {
        "tokens": float(np.mean(own)),
        "tokens by chance": float(np.mean(shuffled)),
        "share of chance": float(np.mean(own) / np.mean(shuffled)),
        "effective experts": float(np.mean(experts)),
        "specialized": best,
    }


def count_tokens(a: NumPyArray, tokens: NumPyArray) -> NumPyArray:
    """How many different tokens each expert is for, (N): the exponential of the entropy of their shares.

    Args:
        a: coefficients (T, N).
        tokens: their numbers (T,).
    """
    _, numbers, times = np.unique(tokens, return_inverse=True, return_counts=True)
    sums = tm.analysis.class_means(a, numbers) * times[:, None]
    return np.asarray(np.exp(tm.analysis.token_entropy(sums.T)))


def _shuffle(tokens: NumPyArray) -> NumPyArray:
    """The tokens elsewhere: what an expert would be for that does not look at them."""
    return np.random.default_rng(_SEED).permutation(tokens)


def _describe(a: NumPyArray, x: Tensor, text: Text) -> Mapping[str, Value]:
    """The tokens with the largest shares of an expert's coefficients, and where it has the largest ones."""
    values, numbers = np.unique(x.numpy(), return_inverse=True)
    shares = np.bincount(numbers.ravel(), a) / a.sum()
    order = np.argsort(-shares, kind="stable")[:_TOKENS]
    top: list[Value] = [
        [_show(text.tokenizer.decode([int(values[each])])), round(float(shares[each]), 4)] for each in order
    ]
    places = tm.analysis.top_inputs(a[:, None], _SNIPPETS).inputs[0]
    return {"tokens": top, "snippets": [_cut(int(place), x, text) for place in places]}


def _cut(place: int, x: Tensor, text: Text) -> str:
    """A token in quotes among those around it."""
    row, column = divmod(place, x.shape[1])
    ids = x[row].tolist()
    parts = (
        ids[max(0, column - _BEFORE) : column],
        [ids[column]],
        ids[column + 1 : column + 1 + _AFTER],
    )
    before, token, after = (_show(text.tokenizer.decode(part)) for part in parts)
    return f"{before}«{token}»{after}"


def _show(text: str) -> str:
    """A text in one line, which ends no block of code."""
    return text.replace("\n", "\\n").replace("```", "'''")

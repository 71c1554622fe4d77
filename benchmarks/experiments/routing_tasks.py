"""What routers are compared on: images in patches and a text, with their corruptions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tensormoe.typing import NumPyArray

from . import checkpoints
from .data.corpus import read_corpus
from .data.corruptions import (
    IMAGE_KINDS,
    SEVERITIES,
    TOKEN_KINDS,
    corrupt_images,
    corrupt_tokens,
)
from .data.digits import read_digits
from .data.texts import limit, read_texts, take_part
from .training import device_of
from .transformer import Patches, Transformer

PATCH = 2
_SEED = 0


@dataclass(frozen=True)
class Examples:
    """Inputs and what is to be predicted.

    Args:
        x: images (T, side, side), or tokens (T, length).
        targets: classes (T,), or the next tokens (T, length); −100 where none is asked for.
    """

    x: Tensor
    targets: Tensor

    def split(self, size: int) -> Iterator["Examples"]:
        """The same, so many at once."""
        for first in range(0, len(self.x), size):
            yield Examples(self.x[first : first + size], self.targets[first : first + size])

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(self.x.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Task:
    """Data, and what is wrong with them at each severity.

    Args:
        train, validation, test: clean.
        corrupted: test data by kind and severity.
        outputs: how many classes or tokens.
        length: tokens or patches of a sequence.
        causal: whether a token may see only those before it.
        patch, colours: of images.
    """

    train: Examples
    validation: Examples
    test: Examples
    corrupted: Mapping[str, list[Examples]]
    outputs: int
    length: int
    causal: bool
    patch: int = PATCH
    colours: int = 1

    def embed(self, width: int) -> torch.nn.Module:
        """What makes vectors of the inputs."""
        if self.causal:
            return torch.nn.Embedding(self.outputs, width)
        return Patches(self.patch, width, self.colours)


class TextChoice(Protocol):
    """Which text is learned."""

    @property
    def root(self) -> str: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def characters(self) -> int: ...
    @property
    def test_tokens(self) -> int: ...


def read_images() -> Task:
    """The digits in 16 patches, between −1 and 1."""

    def examples(pixels: NumPyArray, labels: NumPyArray) -> Examples:
        return Examples(torch.from_numpy(2 * pixels - 1), torch.from_numpy(labels))

    train, validation, test = read_digits()
    corrupted = {
        kind: [
            examples(corrupt_images(test.pixels, kind, each, seed=_SEED), test.labels) for each in SEVERITIES
        ]
        for kind in IMAGE_KINDS
    }
    patches = (test.pixels.shape[1] // PATCH) ** 2
    return Task(examples(*train), examples(*validation), examples(*test), corrupted, 10, patches, False)


def read_text(choice: TextChoice, shared: Path) -> Task:
    """A text in contexts; nine tenths of its documents are to train on.

    Args:
        choice: `root` of files (see `read_texts`), or "" for the texts at hand; how many tokens the tokenizer
            has that is trained on them, and how long contexts are; after how many `characters` the text ends
            (0: it does not), and how many tokens to test on.
        shared: a folder to keep the tokens in.
    """
    kept = checkpoints.prepare(shared / "tokens.safetensors", lambda: _encode(choice))
    train, validation, test = (kept[name] for name in ("train", "validation", "test"))
    corrupted = {
        kind: [
            _contexts(choice, *corrupt_tokens(test, kind, each, vocabulary=choice.vocabulary, seed=_SEED))
            for each in SEVERITIES
        ]
        for kind in TOKEN_KINDS
    }
    clean = [_contexts(choice, part, np.ones(len(part), bool)) for part in (train, validation, test)]
    return Task(clean[0], clean[1], clean[2], corrupted, choice.vocabulary, choice.context, True)


def _encode(choice: TextChoice) -> dict[str, NumPyArray]:
    """The tokens of training, validation and test texts."""
    # tokenizers is not needed for images.
    from .data.tokens import END, train_tokenizer

    documents = list(_documents(choice))
    parts = {part: list(take_part(documents, part)) for part in ("validation", "test", "train")}
    tokenizer = train_tokenizer(parts["train"], choice.vocabulary)
    end = tokenizer.token_to_id(END)
    tokens = {}
    for name, texts in parts.items():
        ids = [token for text in texts for token in (end, *tokenizer.encode(text).ids)]
        tokens[name] = np.array(ids if name == "train" else ids[: choice.test_tokens], "int64")
    return tokens


def _documents(choice: TextChoice) -> Iterator[str]:
    """Documents in an order of their own, up to so many characters."""
    texts = list(read_texts(choice.root)) if choice.root else [each.text for each in read_corpus(("numpy",))]
    order = np.random.default_rng(_SEED).permutation(len(texts))
    return limit((texts[number] for number in order), choice.characters)


def _contexts(choice: TextChoice, tokens: NumPyArray, kept: NumPyArray) -> Examples:
    """Contexts one after the other; a token that is not what it was need not be predicted."""
    count = (len(tokens) - 1) // choice.context
    rows = np.arange(count)[:, None] * choice.context + np.arange(choice.context)
    targets = np.where(kept, tokens, -100)[rows + 1]
    return Examples(torch.from_numpy(tokens[rows].astype("int64")), torch.from_numpy(targets.astype("int64")))


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of a sequence's class, or of all next tokens that are asked for."""
    return cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-100)


def evaluate(model: Transformer, examples: Examples, batch: int) -> dict[str, float]:
    """The loss and the accuracy, in evaluation mode; the last batch may be smaller."""
    model.eval()
    loss = right = asked = 0.0
    with torch.no_grad():
        for part in examples.to(device_of(model)).split(batch):
            logits = model(part.x)
            known = int((part.targets != -100).sum())
            loss += known * float(mean_loss(logits, part.targets))
            right += int((logits.argmax(-1) == part.targets).sum())
            asked += known
    return {"loss": loss / asked, "accuracy": right / asked}


def top_experts(model: Transformer, x: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Each token's first expert (layers, T), and all experts' mean coefficients (layers, N)."""
    model.eval()
    with torch.no_grad():
        x = x.to(device_of(model))
        parts = [model.route(x[first : first + batch])[1] for first in range(0, len(x), batch)]
    layers = [torch.cat([a.flatten(0, 1) for a in layer]) for layer in zip(*parts, strict=True)]
    return torch.stack([a.argmax(-1) for a in layers]).cpu(), torch.stack([a.mean(0) for a in layers]).cpu()

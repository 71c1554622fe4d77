"""What language models learn: a text as tokens on disk, in contexts, in three parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from tensormoe.checkpoints.files import write_file
from tensormoe.errors import TensorMoEError

from .data.corpus import read_corpus
from .data.texts import limit, read_texts, take_part

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .data.tokens import Contexts

PARTS = ("train", "validation", "test")
_SEED = 0


class Choice(Protocol):
    """Which text is learned; `Language` says what the fields are."""

    @property
    def root(self) -> str: ...
    @property
    def tokenizer(self) -> str: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def characters(self) -> int: ...
    @property
    def held_out(self) -> int: ...


@dataclass(frozen=True)
class Pieces:
    """Contexts on disk as a tensor: indices give rows of tokens, each with the token after it."""

    contexts: "Contexts"

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, batch: Tensor) -> Tensor:
        return torch.from_numpy(self.contexts.at(batch.numpy()))


@dataclass(frozen=True)
class Text:
    """A text in contexts, each with the token after it.

    Args:
        train: on disk.
        validation, test: (contexts, length + 1).
        tokenizer: of all.
    """

    train: Pieces
    validation: Tensor
    test: Tensor
    tokenizer: "Tokenizer"


def read(choice: Choice, shared: Path) -> Text:
    """The text of a configuration.

    Args:
        choice: files, tokenizer and sizes.
        shared: a folder to keep the tokenizer and the tokens in.

    Raises:
        TensorMoEError: files that are not there or not what their names say, a tokenizer of another size, or
            too few tokens; or tokenizers is not installed.
    """
    need("tokenizers")
    from .data.tokens import read_tokenizer, read_tokens, train_tokenizer, write_tokens

    kept = shared / "tokenizer.json"
    if not kept.exists():
        tokenizer = (
            read_tokenizer(choice.tokenizer)
            if choice.tokenizer
            else train_tokenizer(_documents(choice, "train"), choice.vocabulary)
        )
        _check_size(tokenizer, choice.vocabulary)
        write_file(str(kept), [tokenizer.to_str().encode()])
    tokenizer = read_tokenizer(kept)
    parts = {}
    for part in PARTS:
        file = shared / f"{part}.tokens"
        if not file.exists():
            write_tokens(tokenizer, _documents(choice, part), file)
        parts[part] = read_tokens(file, choice.context)
    validation, test = (
        torch.from_numpy(next(parts[part].in_order(choice.held_out))) for part in ("validation", "test")
    )
    return Text(Pieces(parts["train"]), validation, test, tokenizer)


def need(package: str) -> None:
    """Refuse to go on without a package of the extra `experiments`."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        remedy = "it is not installed: pip install 'tensormoe[experiments]'"
        raise TensorMoEError("language", package, remedy)


def _documents(choice: Choice, part: str) -> Iterator[str]:
    """The documents of a part. Those at hand are in an order of their own, others in that of their files."""
    texts = read_texts(choice.root) if choice.root else _at_hand()
    return take_part(limit(texts, choice.characters), part)


@cache
def _at_hand() -> tuple[str, ...]:
    texts = read_corpus()
    return tuple(texts[number].text for number in np.random.default_rng(_SEED).permutation(len(texts)))


def _check_size(tokenizer: "Tokenizer", vocabulary: int) -> None:
    if tokenizer.get_vocab_size() != vocabulary:
        remedy = f"the tokenizer has {tokenizer.get_vocab_size()} tokens: pass this number"
        raise TensorMoEError("vocabulary", vocabulary, remedy)

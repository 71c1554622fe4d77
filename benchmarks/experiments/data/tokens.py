"""From texts to tokens: a tokenizer that is trained in the run, and contexts of equal length.

All tokens lie one after the other in a file, 16 bits each, so that texts may be larger than memory. Each
document begins with the token `END`, which stands for the end of the one before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import tensormoe as tm
from tensormoe.typing import NumPyArray

END = "<|endoftext|>"
_SMALLEST, _LARGEST = 257, 2**16
_AT_ONCE = 256


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level byte-pair encoding, as GPT-2's, of these documents.

    Args:
        documents: to learn from; the same ones give the same tokenizer.
        vocabulary: how many tokens, from 257 (each byte is one, and `END`) to 65,536.

    Raises:
        TensorMoEError: another vocabulary, or documents that do not suffice for it.
    """
    _check_size(vocabulary)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    if tokenizer.get_vocab_size() < vocabulary:
        remedy = (
            f"the documents suffice for {tokenizer.get_vocab_size()}: pass this number, or more documents"
        )
        raise tm.TensorMoEError("vocabulary", vocabulary, remedy)
    return tokenizer


def read_tokenizer(path: str | Path) -> Tokenizer:
    """A tokenizer that was trained before, such as GPT-2's.

    Args:
        path: of its `tokenizer.json`, or of the folder that holds it.

    Raises:
        TensorMoEError: no such file, another format, another number of tokens, or one that lacks `END`.
    """
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises nothing more specific
        raise tm.TensorMoEError("path", str(file), f"expected a tokenizer.json here, but {error}") from error
    if tokenizer.token_to_id(END) is None:
        raise tm.TensorMoEError("path", str(file), f"it lacks {END}, with which each document begins")
    _check_size(tokenizer.get_vocab_size())
    return tokenizer


def write_tokens(tokenizer: Tokenizer, documents: Iterable[str], path: str | Path) -> int:
    """Write the tokens of all documents to a file, which appears when it is whole, and count them.

    Args:
        tokenizer: of `train_tokenizer` or `read_tokenizer`.
        documents: are read once, a few at a time.
        path: of the file.
    """
    file = Path(path)
    partial = file.with_name(f"{file.name}.partial")
    end, count, rest = tokenizer.token_to_id(END), 0, iter(documents)
    with partial.open("wb") as written:
        while batch := list(islice(rest, _AT_ONCE)):
            for encoding in tokenizer.encode_batch(batch):
                written.write(np.array([end, *encoding.ids], "<u2").tobytes())
                count += 1 + len(encoding.ids)
    partial.replace(file)
    return count


@dataclass(frozen=True)
class Contexts:
    """Pieces of equal length of all tokens that a file holds.

    Args:
        tokens: one after the other (T,), in memory or on disk.
        length: of each context.

    Raises:
        TensorMoEError: fewer tokens than a context and the token after it take.
    """

    tokens: NumPyArray
    length: int

    def __post_init__(self) -> None:
        if len(self.tokens) <= self.length:
            remedy = f"a context of {self.length} and the token after it need more tokens than there are"
            raise tm.TensorMoEError("tokens", len(self.tokens), remedy)

    def draw(self, count: int, generator: np.random.Generator) -> NumPyArray:
        """Contexts that begin anywhere, each with the token after it, (count, length + 1) in int64."""
        starts = generator.integers(0, len(self.tokens) - self.length, count)
        return self._cut(starts)

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def at(self, numbers: NumPyArray) -> NumPyArray:
        """Contexts by their numbers in order, each with the token after it."""
        return self._cut(self.length * numbers)

    def in_order(self, count: int) -> Iterator[NumPyArray]:
        """All contexts one after the other, so many at once, each with the token after it."""
        for first in range(0, len(self), count):
            yield self.at(np.arange(first, min(first + count, len(self))))

    def _cut(self, starts: NumPyArray) -> NumPyArray:
        places = starts[:, None] + np.arange(self.length + 1)
        cut: NumPyArray = self.tokens[places].astype("int64")
        return cut


def read_tokens(path: str | Path, length: int) -> Contexts:
    """The contexts of a file of `write_tokens`, which stays on disk.

    Raises:
        TensorMoEError: a file that is missing, empty or cut off, or too short for a context.
    """
    file = Path(path)
    if not file.is_file() or file.stat().st_size == 0 or file.stat().st_size % 2:
        raise tm.TensorMoEError("path", str(file), "expected a file of tokens here: write it again")
    return Contexts(np.memmap(file, "<u2", "r"), length)


def _check_size(vocabulary: int) -> None:
    if not _SMALLEST <= vocabulary <= _LARGEST:
        remedy = f"pass {_SMALLEST:,} to {_LARGEST:,}: each byte is a token, and the end of a text"
        raise tm.TensorMoEError("vocabulary", vocabulary, remedy)

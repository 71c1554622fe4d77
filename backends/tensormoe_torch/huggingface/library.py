"""Transformers itself, which is imported only where it is needed."""

from typing import Any

from tensormoe.errors import TensorMoEError


def pretrained_model() -> Any:
    """The base class of all models of transformers.

    Raises:
        TensorMoEError: transformers is not installed.
    """
    try:
        from transformers import PreTrainedModel
    except ImportError as error:
        raise TensorMoEError("transformers", None, 'pip install "transformers>=5.24"') from error
    return PreTrainedModel

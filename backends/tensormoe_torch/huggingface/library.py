"""Transformers itself, which is imported only where it is needed."""

from typing import Any

from tensormoe.errors import TensorMoEError


def pretrained_model() -> Any:
    """The base class of all models of transformers.

    Raises:
        TensorMoEError: transformers is not installed.
    """
    return _get("PreTrainedModel")


def trainer_callback() -> Any:
    """The base class of what a Trainer of transformers calls.

    Raises:
        TensorMoEError: transformers is not installed.
    """
    return _get("TrainerCallback")


def _get(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise TensorMoEError("transformers", None, 'pip install "transformers>=5.24"') from error
    return getattr(transformers, name)

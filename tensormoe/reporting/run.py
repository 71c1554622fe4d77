"""Looks at a saved layer with some inputs, and writes what its experts do."""

import sys

from ..analysis.pictures_style import new_figure
from ..arrays.registry import backend_of
from ..errors import TensorMoEError, positive_integer, positive_number
from ..layers.spec import Spec
from ..typing import NumPyArray, Shape
from .data import Data, read_data
from .evaluation import ablate_levels, evaluate
from .layers import open_layer
from .output import check_folder, write_folder
from .pages import write_page
from .plain import to_json
from .report import Report
from .weights import weigh

PAGE, FIGURES = "report.html", "report.json"


def analyze(
    checkpoint: str,
    data: str,
    out: str,
    *,
    backend: str = "numpy",
    layer: str | None = None,
    batch_size: int = 1024,
    threshold: float = 0.5,
    image_shape: Shape | None = None,
    classifier: bool = False,
) -> Report:
    """Write what the experts of a saved layer do with some inputs: `report.json` and `report.html`.

    Args:
        checkpoint: a file that `tm.save` wrote.
        data: a file of arrays or a folder of images, as for `read_data`.
        out: a folder that does not exist, or is empty. It is complete or, if anything fails, as it was.
        backend: what computes the layer.
        layer: the name of one of several layers in the checkpoint.
        batch_size: how many inputs at once.
        threshold: from which coefficient on an input uses an expert.
        image_shape: of an input that is an image, as for `read_data`.
        classifier: whether outputs are logits of classes; without it they are if labels have as many.

    Returns:
        What was measured.

    Raises:
        TensorMoEError: a checkpoint, data or options that do not fit, a folder that something is in, or
            Matplotlib is missing.
    """
    check_folder(out)
    size, least = positive_integer("--batch-size", batch_size), positive_number("--threshold", threshold)
    new_figure(1, 1, "")  # without Matplotlib, before anything is computed
    name, module = open_layer(checkpoint, layer, backend)
    inputs = read_data(data, module.spec.in_features, image_shape)
    is_classifier = _check_classes(module.spec, inputs, classifier)
    progress = sys.stderr.isatty()
    evaluation = evaluate(module, inputs, size, least, progress)
    changes: tuple[NumPyArray, ...] = ()
    if is_classifier and inputs.labels is not None:
        changes = ablate_levels(module, inputs, inputs.labels, size, progress)
    like = next(iter(module.arrays().values()))
    ops = backend_of(like)
    report = Report(
        checkpoint,
        name,
        module.spec,
        backend,
        ops.dtype_name(ops.as_array(like)),
        size,
        inputs,
        evaluation,
        is_classifier,
        changes,
        weigh(module, evaluation.load),
    )
    write_folder(out, {FIGURES: to_json(report) + "\n", PAGE: write_page(report).html})
    return report


def _check_classes(spec: Spec, data: Data, is_asked: bool) -> bool:
    """Whether the layer's outputs are the data's classes."""
    if data.labels is None:
        if is_asked:
            raise TensorMoEError("--classifier", data.path, "it has no labels: add an array labels to x")
        return False
    most = int(data.labels.max())
    if is_asked and most >= spec.out_features:
        remedy = (
            f"the layer has {spec.out_features:,} outputs: number the classes from 0 on, or omit --classifier"
        )
        raise TensorMoEError("labels", most, remedy)
    return is_asked or len(data.names) == spec.out_features

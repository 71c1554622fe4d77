"""A report as JSON."""

import numpy as np

from ..analysis.fairness import max_min_fairness, standard_deviation_bias
from ..analysis.polysemanticity import polysemanticity
from ..codec import Data as Plain
from ..codec import write_json
from ..layers.serialization import spec_data
from ..tables import versions
from ..typing import NumPyArray
from .report import Report
from .weights import Weights


def to_json(report: Report) -> str:
    """Every figure as strict JSON text; null stands for what has no value."""
    return write_json(describe(report))


def describe(report: Report) -> dict[str, Plain]:
    """All of its figures: by level, by layer, by class and by group."""
    layer, data = report.evaluation.recording, report.data
    return {
        "format": 1,
        "checkpoint": report.checkpoint,
        "layer": report.name or None,
        "spec": spec_data(report.spec),
        "backend": report.backend,
        "dtype": report.dtype,
        "batch_size": report.batch_size,
        "versions": dict(versions()),
        "data": {
            "path": data.path,
            "inputs": len(data),
            "classes": list(data.names),
            "groups": None if data.groups is None else int(data.groups.max()) + 1,
            "image_shape": None if data.image_shape is None else list(data.image_shape),
        },
        "threshold": layer.threshold,
        "accuracy": _describe_accuracy(report),
        "levels": [_describe_level(report, level) for level in range(len(layer.experts))],
        "pairs_of_levels": [
            {
                "levels": [level + 1, level + 2],
                "information": float(known),
                "conditional_usage": listed(usage),
            }
            for level, (known, usage) in enumerate(
                zip(layer.level_information(), layer.conditional_usage(), strict=True)
            )
        ],
        "all_levels": _describe_all(report.evaluation.load),
        "layers": {name: _describe_weights(each) for name, each in report.weights.items()},
    }


def listed(values: NumPyArray) -> Plain:
    """Nested lists, with null for NaN."""
    return _replace(values.tolist())


def _replace(values: Plain) -> Plain:
    if isinstance(values, list):
        return [_replace(each) for each in values]
    return None if isinstance(values, float) and np.isnan(values) else values


def _describe_accuracy(report: Report) -> Plain:
    labels, groups = report.data.labels, report.data.groups
    by_class, by_group = report.accuracy_by(labels), report.accuracy_by(groups)
    if by_class is None or labels is None:
        return None
    described: dict[str, Plain] = {"overall": report.accuracy, "by_class": listed(by_class)}
    if by_group is not None and groups is not None:
        known = report.evaluation.predictions, labels, groups
        described |= {
            "by_group": listed(by_group),
            "max_min_fairness": max_min_fairness(*known),
            "standard_deviation_bias": standard_deviation_bias(*known),
        }
    return described


def _describe_level(report: Report, level: int) -> dict[str, Plain]:
    layer, best = report.evaluation.recording, report.evaluation.best[level]
    described: dict[str, Plain] = {
        "level": level + 1,
        "experts": layer.experts[level],
        "effective_experts": float(layer.effective_experts()[level]),
        "max_share": float(layer.load()[level].max()),
        "token_entropy": float(layer.token_entropy()[level]),
        "load_entropy": float(layer.load_entropy()[level]),
        "dead": listed(layer.dead()[level]),
    }
    for name in ("load", "usage", "wins", "mean", "variance", "largest"):
        described[name] = listed(getattr(layer, name)()[level])
    if layer.labels:
        described["mutual_information"] = float(layer.mutual_information()[level])
        described["labels"] = list(layer.labels)
        described["class_means"] = listed(layer.class_means()[level])
    if report.changes:
        result = polysemanticity(report.changes[level])
        described["accuracy_changes"] = listed(report.changes[level])
        described["polysemanticity"] = {
            "mean": _replace(result.mean),
            "experts": listed(result.experts),
        }
    described["top_inputs"] = {
        "inputs": listed(best.rows),
        "ids": [[report.data.name(int(row)) for row in rows] for rows in best.rows]
        if report.data.ids
        else None,
        "coefficients": listed(best.coefficients),
    }
    return described


def _describe_all(load: NumPyArray) -> dict[str, Plain]:
    """The experts of all levels together, in the order of `gram`."""
    known = load[load > 0]
    return {
        "experts": len(load),
        "effective_experts": float(np.exp(-(known * np.log(known)).sum())),
        "dead": int(np.count_nonzero(load == 0)),
        "load": listed(load),
    }


def _describe_weights(weights: Weights) -> dict[str, Plain]:
    closest = weights.closest
    return {
        "norms": listed(weights.norms),
        "mean_cosine": weights.mean_cosine,
        "closest": None if closest is None else {"experts": [*closest[:2]], "cosine": closest[2]},
        "spectra": [
            {"expert": int(expert), "singular_values": listed(values)}
            for expert, values in zip(weights.experts, weights.spectra, strict=True)
        ],
    }

"""Specifications as plain data."""

import json
from typing import Any


def spec_data(spec: Any) -> Any:
    """A specification as plain data, or as text if its gate has a function of one's own."""
    try:
        return json.loads(spec.to_json())
    except ValueError:
        return repr(spec)

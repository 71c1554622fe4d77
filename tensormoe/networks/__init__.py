"""Names and sizes of tensor networks; no arrays."""

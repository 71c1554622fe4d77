"""Layers in files: safetensors with the specification and a checksum, the same for every framework."""

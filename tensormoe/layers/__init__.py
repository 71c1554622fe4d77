"""Specifications of layers and blocks, their parameters, and what they compute."""

"""Definitions that verification compares with, written apart from what they judge."""

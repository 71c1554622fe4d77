"""Definitions that verification compares with, independent of what they judge."""

"""Arithmetic in which programs are checked: residues, and counted roundings."""

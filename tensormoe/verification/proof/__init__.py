"""Proofs on symbolic arrays; shares no code with planning or lowering."""

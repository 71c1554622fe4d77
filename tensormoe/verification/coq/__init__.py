"""Certificates: theorems on a program, with their proofs, as a file that Coq checks."""

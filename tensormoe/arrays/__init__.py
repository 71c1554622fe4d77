"""What a framework must offer; no factorization."""

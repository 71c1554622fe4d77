"""What a user would otherwise pick, timed against tensormoe: `python -m benchmarks`."""

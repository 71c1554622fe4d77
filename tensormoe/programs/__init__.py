"""From shapes to plans and instructions."""

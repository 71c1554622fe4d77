"""The sides of a measurement: our layers, and what a user would otherwise pick."""

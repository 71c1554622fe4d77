"""What is measured: a module for each case, or for a few that belong together."""

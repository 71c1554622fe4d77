"""The gallery of structures: what each is, what it costs, and what it learns on digits."""

"""The papers' experiments: what each claims, run again, and a page that says what holds."""

"""The export of a student: its forms, checks, model card and registration."""

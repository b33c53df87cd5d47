"""The steps of a sweep, joined: teacher, knowledge, search, recorder, resume, dry run."""

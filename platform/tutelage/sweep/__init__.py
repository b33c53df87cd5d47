"""The steps of a sweep: teacher, knowledge, search, recorder, resume, dry run."""

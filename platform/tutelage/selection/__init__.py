"""The selection of one student from a front."""

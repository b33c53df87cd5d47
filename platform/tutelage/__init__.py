"""Tutelage finds the best small networks that a big one can teach."""

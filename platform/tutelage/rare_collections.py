"""Makes collections of garbage rare in the process that imports this file, which is for programs, not for a library.

At Python's own threshold they visit every imported object, again and again: a quarter of the 3.3 s of a core that
torch, Ray Tune and scikit-learn take to import.
"""

from __future__ import annotations

import gc

THRESHOLD = 50_000  # objects that are made, and not freed, between two collections; Python's own is 700

gc.set_threshold(THRESHOLD)

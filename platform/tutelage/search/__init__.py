"""The search: which student is trained next, which one stops early, and Ray Tune, which runs them."""

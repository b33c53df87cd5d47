"""The search: what to try next (`sampler`), and how it is run on Ray Tune (`tune`)."""

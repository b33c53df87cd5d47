"""Sparsity: making a trained student smaller. One file a way.

`apply(config, model, example, share)` returns the network with `share` of it gone, still trainable. Removed channels are
physically gone: `params`, `macs` and the latency fall with them.
"""

"""Networks: teachers and students. One file an architecture.

`build(config, example_shape, num_classes)` returns an untrained network; built under `torch.device("meta")` it costs no
memory and no time, which is how a student is sized before it is trained.
"""

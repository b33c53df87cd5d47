"""A network: on disk, its layers, what it outputs, what it costs."""

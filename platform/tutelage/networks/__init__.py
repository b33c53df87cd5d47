"""Networks: files, stages and captured outputs, sizes, MACs and latency."""

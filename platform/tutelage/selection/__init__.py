"""From a front to one student."""

"""A student leaves: its forms, checks, model card, registry."""

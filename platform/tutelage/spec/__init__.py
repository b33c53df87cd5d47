"""What a spec may say: its sections, its search space, its mistakes with their lines. No torch."""

"""What a sweep keeps: the ledger (the truth), MLflow (its mirror), observers."""

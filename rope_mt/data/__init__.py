"""Parallel text on its way to the model: fetched, checked, cleaned, cut into pieces and put into batches."""

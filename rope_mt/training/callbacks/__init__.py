"""What Lightning's loop calls after each batch, validation and checkpoint: one subject a file."""

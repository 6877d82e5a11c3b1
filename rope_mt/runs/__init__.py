"""What a run leaves on disk and at W&B: its folder, checkpoints, result and published record."""

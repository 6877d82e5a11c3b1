"""`rope-mt export`: a trained model for other programs."""

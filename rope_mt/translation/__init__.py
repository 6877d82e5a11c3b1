"""From a trained model to translations and their scores: eval, translate, export, and what training shares."""

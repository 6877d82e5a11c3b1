"""From a trained model to translations and their scores: the commands eval, translate and export, and what training shares."""

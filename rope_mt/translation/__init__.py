"""From a trained model to translations and their scores: the commands eval and translate, and what training shares."""

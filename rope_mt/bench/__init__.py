"""`rope-mt bench SUBJECT`: speed, memory and waste, measured on this machine; a module for each subject."""

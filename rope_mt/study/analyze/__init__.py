"""The subjects of `rope-mt analyze`: convergence, length and decay with distance, a module each."""

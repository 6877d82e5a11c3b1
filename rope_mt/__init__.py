"""rope-mt: what does a way of encoding position do to translation?"""

__version__ = "0.1.0"

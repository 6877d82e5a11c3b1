"""Groups of runs against a baseline, with tests of significance, as tables or for other programs."""

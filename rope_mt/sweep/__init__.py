"""A sweep: the jobs of one `rope-mt train -m`, watched while they run and compared when they have ended."""

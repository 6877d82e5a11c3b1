"""Many runs side by side: `rope-mt compare`, `rope-mt analyze`, and the HTML report."""

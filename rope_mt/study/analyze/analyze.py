"""`rope-mt analyze SUBJECT ...`: what finished runs have to say beyond their scores. Each subject is a module here."""

from rope_mt.config.flags import AnalyzeConvergenceConfig, AnalyzeDecayConfig, AnalyzeLengthsConfig


def analyze(cfg: AnalyzeDecayConfig | AnalyzeLengthsConfig | AnalyzeConvergenceConfig) -> None:
    """Study one subject; the modules of the others are not imported, since some of them are heavy.

    Raises:
        UserError: a value is out of range, no run is finished, or a file is damaged.
    """
    if isinstance(cfg, AnalyzeDecayConfig):
        from rope_mt.study.analyze.decay import analyze_decay

        analyze_decay(cfg)
    elif isinstance(cfg, AnalyzeLengthsConfig):
        from rope_mt.study.analyze.lengths import analyze_lengths

        analyze_lengths(cfg)
    else:
        from rope_mt.study.analyze.convergence import analyze_convergence

        analyze_convergence(cfg)

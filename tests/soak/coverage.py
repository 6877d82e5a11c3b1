"""By hand, a minute or two: python tests/soak/coverage.py

How often all intervals of a comparison hold the truth together, in 2,000 simulated comparisons of five schemes with a
baseline, and how often a true difference is told apart. tests/study/test_intervals.py runs fewer of them.
"""

import numpy as np

from rope_mt.study.compare.intervals import draw_resamples, intervals

SENTENCES, SCHEMES = 200, 5
SEED_SD, PAIR_SD, SCHEME_SD = 0.02, 0.4, 0.2  # of seeds, of seeds with sentences, of schemes with sentences


def simulate(seeds: int, comparisons: int, effect: float = 0.05) -> tuple[float, float, float]:
    """The fraction of comparisons in which all intervals hold the truth.

    Also the fraction in which the first scheme, whose true difference is `effect`, is told apart, and the mean
    difference that the comparison says it finds.
    """
    rng = np.random.default_rng(seeds)
    times = draw_resamples(range(SENTENCES)) / SENTENCES
    truth = np.array([effect, *np.zeros(SCHEMES)])
    held = told_apart = finds = 0.0
    for _ in range(comparisons):
        of_sentence = rng.normal(size=SENTENCES)
        of_scheme = truth[:, None] + SCHEME_SD * rng.normal(size=(SCHEMES + 1, SENTENCES))
        of_seed = SEED_SD * rng.normal(size=(SCHEMES + 1, seeds, 1))
        losses = of_sentence + of_scheme[:, None] + of_seed + PAIR_SD * rng.normal(size=(SCHEMES + 1, seeds, SENTENCES))
        values, sampled = losses.mean(axis=-1), losses @ times.T
        found = intervals(values[:-1].tolist(), values[-1].tolist(), [*sampled])
        held += all(each.low <= true <= each.high for each, true in zip(found, truth[:-1], strict=True))
        told_apart += not found[0].low <= 0 <= found[0].high
        finds += found[0].detectable
    return held / comparisons, told_apart / comparisons, finds / comparisons


if __name__ == "__main__":
    for seeds in (3, 5):
        finds = simulate(seeds, 200)[2]
        held, power, _ = simulate(seeds, 2_000, finds)
        print(
            f"{seeds} seeds: all hold in {held:.1%}; a difference of {finds:.3f} is seen in {power:.1%}",
            flush=True,
        )
        assert 0.935 <= held <= 0.965

"""Sets the gateway's confidence sequences beside those of PyPI's confseq, on the same counts.

    cargo test -p gateway --lib -- --ignored --nocapture intervals_as_rows | python3 bench/confseq_check.py

Both are valid at every look, so neither can be checked by the other's numbers; but both must hold the share that was seen, and
neither may be much wider than the other. It wants numpy, scipy and confseq (its pure modules are enough).
"""

import sys

import numpy as np

# confseq 0.0.11 is older than numpy 2.
np.float_ = np.float64

from confseq.betting import betting_cs
from confseq.conjmix_bounded import conjmix_empbern_twosided_cs

WIDER_MAX = 1.6


def main():
    rng = np.random.default_rng(17)
    worst = 0.0
    print(f"{'k':>6} {'n':>6} {'ours':>20} {'betting (confseq)':>20} {'empirical Bernstein':>20} {'width ours/betting':>18}")
    for line in sys.stdin:
        if not line.startswith("row "):
            continue
        _, k, n, alpha, low, high = line.split()
        k, n, alpha, low, high = int(k), int(n), float(alpha), float(low), float(high)
        x = np.zeros(n)
        x[rng.permutation(n)[:k]] = 1.0
        # Ends of ours err with alpha each: both together are an interval of twice that.
        theirs_low, theirs_high = betting_cs(x, alpha=2 * alpha, running_intersection=False, parallel=False, breaks=4000)
        eb_low, eb_high = conjmix_empbern_twosided_cs(x, v_opt=n / 4, alpha=2 * alpha, running_intersection=False)
        seen = k / n
        assert low <= seen <= high, line
        ratio = (high - low) / (theirs_high[-1] - theirs_low[-1])
        worst = max(worst, ratio)
        show = lambda a, b: f"{a:.5f} {b:.5f}"
        print(
            f"{k:>6} {n:>6} {show(low, high):>20} {show(theirs_low[-1], theirs_high[-1]):>20}"
            f" {show(max(eb_low[-1], 0.0), min(eb_high[-1], 1.0)):>20} {ratio:>18.2f}"
        )
    print(f"ours is at most {worst:.2f} times as wide")
    sys.exit(int(worst > WIDER_MAX))


main()

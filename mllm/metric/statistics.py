"""Stage 11 of a sample's way: how far a measured rate can be trusted, as 95 % confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
MAX_DRAWN = 2**20
"""So many clusters the bootstrap draws at once."""


def proportion_interval(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (E. B. Wilson, JASA 22, 1927) for k successes in n independent trials.

    (0, 1) for n = 0. ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f'{k} successes in {n} trials: expected 0 <= successes <= trials')
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = k / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    # The rounding of floats must not push an interval off 0, 1 or its own estimate.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))


def cluster_bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    seed: int = 0,
    rounds: int = 2000,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile interval of the mean under resampling of whole clusters (cluster bootstrap; Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8).

    `clusters` names the cluster of each value: values of one cluster rise and fall together. Resampling cannot see a
    spread where all clusters have the same mean; then, and for a single cluster, Wilson's interval stands in with
    each cluster counted as one trial (so values should lie in 0..1).
    """
    if not values or len(values) != len(clusters):
        raise ValueError(f'{len(values)} values in {len(clusters)} clusters: expected as many, at least one')
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    member = np.array([numbers[cluster] for cluster in clusters])
    sizes = np.bincount(member)
    sums = np.bincount(member, weights=np.asarray(values, dtype=float))
    estimate = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) < 1e-12:
        return proportion_interval(estimate * len(sizes), len(sizes), confidence)
    low, high = bootstrap_bounds(np.asarray(values, dtype=float), member, seed, rounds, confidence)
    return min(low, estimate), max(high, estimate)


def confidence_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float]:
    """95 % interval of the mean of values in 0..1: Wilson's if every value is its own cluster, else the bootstrap."""
    if len(set(clusters)) == len(clusters):
        return proportion_interval(sum(values), len(values))
    return cluster_bootstrap_interval(values, clusters)


@dataclass(frozen=True)
class PairedDifference:
    """Of two runs on the same samples, first minus second: the mean with its 95 % interval, the p-value of no
    difference, and on how many samples the first is better, worse.
    """

    mean: float
    low: float
    high: float
    p_value: float
    better: int
    worse: int


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], seed: int = 0, rounds: int = 10_000
) -> PairedDifference:
    """Compare scores of the same samples, sample by sample.

    The p-value is that of the paired permutation test (two-sided; R. A. Fisher, The Design of Experiments, 1935), which
    exchanges the two runs in a random half of the clusters; of all exchanges where these are no more than `rounds`. The
    interval is the cluster bootstrap's.
    """
    if not len(first) == len(second) == len(clusters) or not len(first):
        raise ValueError(
            f'{len(first)} and {len(second)} scores in {len(clusters)} clusters: expected as many, not none'
        )
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    member = np.array([numbers[cluster] for cluster in clusters])
    sums = np.bincount(member, weights=differences)
    sums = sums[sums != 0]
    low, high = bootstrap_bounds(differences, member, seed)
    return PairedDifference(
        float(differences.mean()),
        low,
        high,
        permutation_p_value(sums, seed, rounds),
        int((differences > 0).sum()),
        int((differences < 0).sum()),
    )


def permutation_p_value(sums: np.ndarray, seed: int, rounds: int) -> float:
    """How often a sum with random signs is at least as far from 0 as the sum itself."""
    observed = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if 2 ** min(len(sums), 63) <= rounds:
        codes = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float(np.mean(np.abs((1 - 2 * codes) @ sums) >= observed))
    rng = np.random.default_rng(seed)
    step = max(1, MAX_DRAWN // len(sums))
    hits = 0
    for begin in range(0, rounds, step):
        signs = rng.integers(2, size=(min(step, rounds - begin), len(sums))) * 2 - 1
        hits += int((np.abs(signs @ sums) >= observed).sum())
    return (hits + 1) / (rounds + 1)


def bootstrap_bounds(
    values: np.ndarray, member: np.ndarray, seed: int, rounds: int = 2000, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bounds of the mean under resampling of whole clusters, `member` being the number of each value's."""
    sizes, sums = np.bincount(member), np.bincount(member, weights=values)
    rng = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    # Many rounds at once, as far as memory allows.
    for begin in range(0, rounds, step := max(1, MAX_DRAWN // len(sizes))):
        drawn = rng.integers(len(sizes), size=(min(step, rounds - begin), len(sizes)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_of(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    rounds: int = 2000,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile interval of a statistic of sums over samples (F1, corpus BLEU, ...) under resampling of the samples.

    `rows` [n, k] are the summands of each sample; `statistic` maps sums [..., k] to values [...].
    """
    rng = np.random.default_rng(seed)
    sums = []
    for begin in range(0, rounds, step := max(1, MAX_DRAWN // len(rows))):
        counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=min(step, rounds - begin))
        sums.append(counts @ rows)
    low, high = np.quantile(statistic(np.concatenate(sums)), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)

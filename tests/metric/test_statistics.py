import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm.metric import statistics
from mllm.metric.statistics import (
    cluster_bootstrap_interval,
    confidence_interval,
    paired_difference,
    proportion_interval,
)

counts = st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
clustered = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 6)), min_size=1, max_size=60)


@given(counts)
def test_wilson_contains_the_estimate_within_0_and_1(pair):
    k, n = pair
    low, high = proportion_interval(k, n)
    assert 0 <= low <= (k / n if n else 0) <= high <= 1
    assert low < high


@given(counts, st.integers(2, 20))
def test_wilson_shrinks_with_n(pair, factor):
    k, n = pair
    if n == 0:
        return
    (low, high), (lower, higher) = proportion_interval(k, n), proportion_interval(k * factor, n * factor)
    assert higher - lower < high - low


def test_wilson_known_values():
    # 95 % score interval of 81 in 263 (Newcombe, Statistics in Medicine 17, 1998, table I).
    assert proportion_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert proportion_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert proportion_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(('k', 'n'), [(3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(ValueError, match='successes'):
        proportion_interval(k, n)


@settings(max_examples=40, deadline=None)
@given(clustered)
def test_bootstrap_contains_the_estimate_within_0_and_1(pairs):
    values, clusters = zip(*pairs)
    low, high = cluster_bootstrap_interval(values, clusters, rounds=200)
    assert 0 <= low <= sum(values) / len(values) <= high <= 1


@settings(max_examples=40, deadline=None)
@given(clustered)
def test_bootstrap_does_not_depend_on_names_or_order_within(pairs):
    values, clusters = zip(*pairs)
    renamed = [f'cluster {number}' for number in clusters]
    assert cluster_bootstrap_interval(values, clusters, rounds=100) == cluster_bootstrap_interval(
        values, renamed, rounds=100
    )


def test_bootstrap_shrinks_with_the_number_of_clusters():
    def width(copies):
        values = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0] * copies
        low, high = cluster_bootstrap_interval(values, [i // 2 for i in range(len(values))])
        return high - low

    assert width(64) < width(16) < width(4)


def test_shared_supports_widen_the_interval():
    # 40 clusters of 10 equal answers hold no more than 40 answers.
    values = [float(cluster % 4 != 0) for cluster in range(40) for _ in range(10)]
    clusters = [cluster for cluster in range(40) for _ in range(10)]
    low, high = confidence_interval(values, clusters)
    naive_low, naive_high = confidence_interval(values, range(400))
    assert high - low > 2.5 * (naive_high - naive_low)
    assert (naive_low, naive_high) == proportion_interval(300, 400)


def test_bootstrap_is_reproducible_and_near_wilson_for_single_answers():
    values = [float(number % 5 != 0) for number in range(500)]
    first = cluster_bootstrap_interval(values, range(500))
    assert first == cluster_bootstrap_interval(values, range(500))
    assert first == pytest.approx(proportion_interval(400, 500), abs=0.01)


@pytest.mark.parametrize('most', [1, 97, 10**9])
def test_the_bootstrap_does_not_depend_on_how_much_it_draws_at_once(monkeypatch, most):
    values, clusters = [float(number % 3 == 0) for number in range(60)], [number // 4 for number in range(60)]
    expected = cluster_bootstrap_interval(values, clusters, rounds=101)
    monkeypatch.setattr(statistics, 'MAX_DRAWN', most)
    assert cluster_bootstrap_interval(values, clusters, rounds=101) == expected


def test_without_spread_between_clusters_each_counts_once():
    values, clusters = [1.0] * 30, [number // 10 for number in range(30)]
    assert confidence_interval(values, clusters) == proportion_interval(3, 3)
    assert confidence_interval([1.0, 0.0], ['a', 'a']) == proportion_interval(0.5, 1)


def test_bootstrap_needs_a_cluster_per_value():
    with pytest.raises(ValueError, match='2 values in 1 clusters'):
        cluster_bootstrap_interval([1.0, 0.0], ['a'])
    with pytest.raises(ValueError, match='0 values'):
        cluster_bootstrap_interval([], [])


scores = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=9)


@given(scores)
def test_a_paired_difference_turns_round_with_the_runs(pairs):
    first, second = zip(*pairs)
    there = paired_difference(first, second, range(len(first)))
    back = paired_difference(second, first, range(len(first)))
    assert back.p_value == pytest.approx(there.p_value)
    assert (back.mean, back.better, back.worse) == (pytest.approx(-there.mean), there.worse, there.better)
    assert there.low <= there.mean + 1e-12
    assert there.mean <= there.high + 1e-12


@given(st.integers(0, 10), st.integers(0, 10))
def test_of_single_samples_the_p_value_is_that_of_the_sign_test(better: int, worse: int):
    """Right and wrong answers: how often a fair coin thrown for each sample that differs is as uneven."""
    first, second = [1.0] * better + [0.0] * worse + [1.0], [0.0] * better + [1.0] * worse + [1.0]
    n, distance = better + worse, abs(better - worse)
    expected = sum(math.comb(n, k) for k in range(n + 1) if abs(n - 2 * k) >= distance) / 2**n
    found = paired_difference(first, second, range(len(first))).p_value
    assert found == pytest.approx(expected, abs=1e-12 if 2**n <= 10_000 else 0.03)


def test_clusters_are_exchanged_whole():
    first, second = [1.0] * 8, [0.0] * 8
    assert paired_difference(first, second, range(8)).p_value == 2 / 2**8
    assert paired_difference(first, second, [0, 0, 0, 0, 1, 1, 1, 1]).p_value == 2 / 2**2


def test_scores_of_other_numbers_are_refused():
    with pytest.raises(ValueError, match='expected as many'):
        paired_difference([1.0], [1.0, 0.0], [0])

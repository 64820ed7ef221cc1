# Link-context learning mixed evenly with other tasks, the paper's [mix].
_base_ = ['imagenet_lcl.py']

# The other tasks, as dataset configs. They share one half of the samples equally; while there are none, the
# link-context tasks have all.
OTHER_TASKS = []


def mixture(link_context, others):
    """`link_context` are (dataset, share of their half)."""
    half = 0.5 if others else 1.0
    return dict(
        type='InterleaveDataset',
        cfgs=[*(dataset for dataset, _ in link_context), *others],
        probabilities=[*(half * share for _, share in link_context), *(0.5 / len(others) for _ in others)],
        seed=42,
        stopping_strategy='first_exhausted',
    )


MIX1 = mixture([(_base_.TRAIN_2WAY, 1.0)], OTHER_TASKS)
MIX2 = mixture([(_base_.TRAIN_REF_OR_WEIGHT, 0.6), (_base_.TRAIN_JIGSAW, 0.4)], OTHER_TASKS)

# Link-context learning mixed evenly with other tasks, the paper's [mix].
_base_ = ['imagenet_lcl.py', 'shikra_tasks.py']

# The other tasks, as dataset configs: Shikra's. They share one half of the samples equally.
OTHER_TASKS = [*_base_.SHIKRA_TASKS.values()]


def mixture(link_context, others):
    """`link_context` are (dataset, share of their half)."""
    return dict(
        type='InterleaveDataset',
        cfgs=[*(dataset for dataset, _ in link_context), *others],
        probabilities=[*(0.5 * share for _, share in link_context), *(0.5 / len(others) for _ in others)],
        seed=42,
        stopping_strategy='first_exhausted',
    )


MIX1 = mixture([(_base_.TRAIN_2WAY, 1.0)], OTHER_TASKS)
MIX2 = mixture([(_base_.TRAIN_REF_OR_WEIGHT, 0.6), (_base_.TRAIN_JIGSAW, 0.4)], OTHER_TASKS)

# The emoji concepts that ship with the project: train, val and test are disjoint sets of concepts. Every support
# image comes from another art family than the query's.
EMOJI = '{{fileDirname}}/../../../data/emoji'

EMOJI_AUGMENT = dict(type='RandomAffine', views=4)

EMOJI_EPISODES = dict(
    type='LinkContextDataset',
    filename=EMOJI + '/train_pairs.jsonl',
    image_folder=EMOJI + '/images.zip',
    distinct_groups=True,
    shot=dict(type='uniform', low=1, high=3),
    policy=dict(
        type='link_context',
        names=dict(invented=0.5, mixed=0.5),
        word_length=(4, 4),
        negatives=0.5,
        queries=4,
        supervise_supports='repeated',
    ),
)

EMOJI_NAMES = dict(
    type='LabelledImageDataset', filename=EMOJI + '/train_pairs.jsonl', image_folder=EMOJI + '/images.zip'
)

ACCURACY = dict(type='LinkContextAccuracy')
SHOTS = (1, 2, 4)


def concepts(file, shot, names, control=None, episodes_per_class=3):
    """Episodes of the concepts in a pair file: `shot` supports per class, easy contrast classes."""
    return dict(
        cfg=dict(
            type='LinkContextDataset',
            filename=EMOJI + file,
            image_folder=EMOJI + '/images.zip',
            distinct_groups=True,
            shot=shot,
            policy=dict(type='link_context', names=names, word_length=(4, 4), negatives='easy'),
            episodes_per_class=episodes_per_class,
            control=control,
        ),
        compute_metric=ACCURACY,
    )


def invented_concepts(file, shot, names):
    """The questions on concepts that nobody has a word for."""
    return dict(
        cfg=dict(
            type='ISEKAIEval2Way',
            filename=EMOJI + file,
            image_folder=EMOJI + '/images.zip',
            shot=shot,
            policy=dict(type='fixed_supports', names=names, word_length=(4, 4)),
        ),
        compute_metric=ACCURACY,
    )


TEST = '/test_pairs.jsonl'
REAL_NAME = '/invented_real_name.jsonl'
HELDOUT = {f'heldout_{shot}': concepts(TEST, shot, 'invented') for shot in SHOTS}
HELDOUT_REAL_NAME = {f'heldout_real_name_{shot}': concepts(TEST, shot, 'mixed') for shot in SHOTS}
INVENTED = {f'invented_{shot}': invented_concepts('/invented.jsonl', shot, 'invented') for shot in SHOTS}
INVENTED_REAL_NAME = {f'invented_real_name_{shot}': invented_concepts(REAL_NAME, shot, 'mixed') for shot in SHOTS}
BLANKED = {f'blanked_{shot}': concepts(TEST, shot, 'invented', 'blank_supports') for shot in SHOTS}
PERMUTED = {f'permuted_{shot}': concepts(TEST, shot, 'invented', 'permute_labels') for shot in SHOTS}
# Settings are chosen on these; the test concepts are for the result alone.
VALIDATION = {f'validation_{shot}': concepts('/val_pairs.jsonl', shot, 'invented', None, 6) for shot in SHOTS}

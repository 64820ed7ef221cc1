# The emoji episodes in the shortest form there is, a picture and its label per line: for base language models, which
# copy what stood right behind an equal thing. Use it with conv_args=dict(episode_template='pairs').
_base_ = ['emoji.py']

PAIRS = dict(
    query_questions=['<image>'],
    texts=dict(support_question='<image>', support_answer='<label>', answer='<label>'),
)
PAIRS_ACCURACY = dict(type='LinkContextAccuracy', answer_template='<label>')


def as_pairs(cfg):
    """A dataset of episodes with the short texts."""
    return {**cfg, 'policy': {**cfg['policy'], **PAIRS}}


def tests(group):
    return {
        name: dict(cfg=as_pairs(test['cfg']), compute_metric=PAIRS_ACCURACY) for name, test in group.items()
    }


PAIRS_EPISODES = as_pairs(_base_.EMOJI_EPISODES)
PAIRS_HELDOUT = tests(_base_.HELDOUT)
PAIRS_HELDOUT_REAL_NAME = tests(_base_.HELDOUT_REAL_NAME)
PAIRS_INVENTED = tests(_base_.INVENTED)
PAIRS_BLANKED = tests(_base_.BLANKED)
PAIRS_PERMUTED = tests(_base_.PERMUTED)
PAIRS_VALIDATION = tests(_base_.VALIDATION)

# An Otter of drawn weights that runs in seconds on one CPU core.
_base_ = 'tiny_flamingo.py'

model_args = dict(
    type='otter',
    cross_attn_every_n_layers=1,
    conv_args=dict(conv_template='otter', episode_template='otter'),
)

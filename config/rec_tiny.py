# Where is the thing that a phrase names? Emoji scenes with unseen layouts, by kind of phrase; see docs/grounding.md.
_base_ = ['_base_/dataset/emoji_scenes.py', '_base_/model/tiny_llava_scenes.py', '_base_/train/tiny_scenes.py']

data_args = dict(
    train=_base_.REC_TRAIN,
    multitest={**_base_.REC_TEST, **_base_.REC_BLANKED},
    gen_kwargs=dict(max_new_tokens=16),
)

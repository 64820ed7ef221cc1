# The control: the same model, pictures and steps, trained on plain image -> name without any episode.
_base_ = ['_base_/dataset/emoji.py', '_base_/model/tiny_llava.py', '_base_/train/tiny_cpu.py']

data_args = dict(
    train=_base_.EMOJI_NAMES,
    multitest=_base_.HELDOUT,
    augment=_base_.EMOJI_AUGMENT,
    gen_kwargs=dict(max_new_tokens=32),
)

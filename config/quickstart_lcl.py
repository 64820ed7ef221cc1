# The quickstart's main run: link-context episodes of train concepts, then unseen and invented concepts.
_base_ = ['_base_/dataset/emoji.py', '_base_/model/tiny_llava.py', '_base_/train/tiny_cpu.py']

data_args = dict(
    train=_base_.EMOJI_EPISODES,
    validation=_base_.VALIDATION['validation_1']['cfg'],
    compute_metric=_base_.ACCURACY,
    multitest={
        **_base_.HELDOUT,
        **_base_.HELDOUT_REAL_NAME,
        **_base_.INVENTED,
        **_base_.INVENTED_REAL_NAME,
        **_base_.BLANKED,
        **_base_.PERMUTED,
    },
    augment=_base_.EMOJI_AUGMENT,
    gen_kwargs=dict(max_new_tokens=32),
)

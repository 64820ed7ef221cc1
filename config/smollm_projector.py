# Stage 1 of the small pretrained model: the projector learns, tower and language model stay as they came.
_base_ = ['_base_/dataset/emoji_pairs.py', '_base_/model/smollm_effnet.py', '_base_/train/smollm_cpu.py']

data_args = dict(
    train=_base_.PAIRS_EPISODES,
    validation=_base_.PAIRS_VALIDATION['validation_1']['cfg'],
    compute_metric=_base_.PAIRS_ACCURACY,
    multitest=_base_.PAIRS_HELDOUT,
    # Answers end with the line: id 198.
    gen_kwargs=dict(max_new_tokens=8, eos_token_id=198),
)

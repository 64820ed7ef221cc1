# Shikra's stage 2: a tenth dialogue, the rest grounding tasks in equal parts, three epochs.
_base_ = ['_base_/dataset/shikra_mix.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

data_args = dict(train=_base_.SHIKRA_STAGE2)
training_args = dict(num_train_epochs=3)

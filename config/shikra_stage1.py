# Shikra's stage 1: all tasks one after the other (shuffled by the sampler), two epochs.
_base_ = ['_base_/dataset/shikra_mix.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

data_args = dict(train=_base_.SHIKRA_STAGE1)
training_args = dict(num_train_epochs=2)

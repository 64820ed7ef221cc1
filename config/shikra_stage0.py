# Shikra's stage 0: referring expressions and regions, one epoch.
_base_ = ['_base_/dataset/shikra_mix.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

data_args = dict(train=_base_.SHIKRA_STAGE0)
training_args = dict(num_train_epochs=1)

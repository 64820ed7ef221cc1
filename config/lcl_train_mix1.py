# The paper's [mix]: half [2-way], half other tasks (OTHER_TASKS in _base_/dataset/lcl_mix.py).
_base_ = ['_base_/dataset/lcl_mix.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

model_args = dict(model_max_length=30000)
data_args = dict(train=_base_.MIX1)
training_args = dict(num_train_epochs=50, per_device_train_batch_size=1, save_steps=500)

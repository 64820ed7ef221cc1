# The paper's [2-way]: 8 images of a class under an invented word, and of a neighbour under its real name. The published
# run had 32 GPUs with an episode each. An episode of 17 images has about 5000 tokens, hence model_max_length.
_base_ = ['_base_/dataset/imagenet_lcl.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

model_args = dict(model_max_length=30000)
data_args = dict(train=_base_.TRAIN_2WAY)
training_args = dict(num_train_epochs=50, per_device_train_batch_size=1, save_steps=500)

# The paper's [2-way-random]: 1 to 8 images per class, each number equally often; 10 epochs on from a [2-way] model.
_base_ = ['lcl_train_2way.py']

model_args = dict(model_name_or_path='./exp/lcl_train_2way')
data_args = dict(train=_base_.TRAIN_2WAY_RANDOM)
training_args = dict(num_train_epochs=10)

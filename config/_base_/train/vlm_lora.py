# Adapters on a small published VLM: a higher learning rate than that of whole models, one epoch, evaluation at its end.
_base_ = 'llava_fsdp.py'

training_args = dict(
    num_train_epochs=1,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=4,
    learning_rate=1e-4,
    save_steps=500,
    do_multi_predict=True,
)

# Trains the tiny model for scenes on two CPU cores in a few minutes: one process with OMP_NUM_THREADS=1, and a worker
# that reads ahead.
training_args = dict(
    output_dir='./exp/{{$MLLM_CONFIG_NAME:run}}',
    use_cpu=True,
    do_train=True,
    do_multi_predict=True,
    per_device_train_batch_size=32,
    per_device_eval_batch_size=128,
    max_steps=1200,
    learning_rate=3e-3,
    adam_beta1=0.9,
    adam_beta2=0.98,
    weight_decay=0.05,
    warmup_steps=50,
    lr_scheduler_type='cosine_with_min_lr',
    lr_scheduler_kwargs=dict(min_lr_rate=0.05),
    max_grad_norm=1.0,
    dataloader_num_workers=1,
    logging_steps=20,
    save_strategy='no',
    seed=42,
)

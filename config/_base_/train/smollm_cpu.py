# Trains the small pretrained model on one CPU core, in bfloat16 where the processor has it; found on the validation
# concepts.
training_args = dict(
    output_dir='./exp/{{$MLLM_CONFIG_NAME:run}}',
    use_cpu=True,
    bf16=True,
    do_train=True,
    do_multi_predict=True,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=32,
    max_steps=100,
    learning_rate=2e-4,
    adam_beta1=0.9,
    adam_beta2=0.98,
    weight_decay=0.0,
    warmup_steps=10,
    lr_scheduler_type='cosine_with_min_lr',
    lr_scheduler_kwargs=dict(min_lr_rate=0.05),
    max_grad_norm=1.0,
    logging_steps=10,
    save_strategy='no',
    seed=42,
)

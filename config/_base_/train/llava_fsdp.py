# Training of a LLaVA on GPUs, with the published hyperparameters. How a model is split among GPUs is said by the
# accelerate config that launches the run.
training_args = dict(
    output_dir='./exp/{{$MLLM_CONFIG_NAME:run}}',
    do_train=True,
    num_train_epochs=5,
    per_device_train_batch_size=4,
    per_device_eval_batch_size=4,
    gradient_accumulation_steps=1,
    learning_rate=2e-5,
    weight_decay=0.0,
    lr_scheduler_type='cosine',
    warmup_steps=0.03,  # below 1: a share of all steps
    bf16=True,
    tf32=True,
    gradient_checkpointing=True,
    logging_steps=10,
    save_strategy='steps',
    save_steps=2000,
    save_total_limit=1,
    dataloader_num_workers=4,
    seed=42,
)

# Evaluation alone, of every dataset in data_args.multitest.
training_args = dict(
    output_dir='./exp/{{$MLLM_CONFIG_NAME:run}}',
    do_multi_predict=True,
    per_device_eval_batch_size=16,
    dataloader_num_workers=4,
    seed=42,
)

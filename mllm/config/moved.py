"""Keys that configs of the original link-context and Shikra code have, and what to write here; before stage 1."""

DATASET_OWN = "episodes are a dataset's own"
TOKEN_ID = "the tokenizer's own id is used; leave it out"

MOVED = {
    'data_args.collator_kwargs': 'batches are padded to their longest sample, and model_max_length is the limit; '
    'leave it out',
    'data_args.icl_dataset_list': f'{DATASET_OWN}: each dataset of a mixture says by its type whether it has them; '
    'leave it out',
    'data_args.lazy_init': 'annotation lines are always read where they lie; leave it out',
    'data_args.shot': f'{DATASET_OWN}; set shot=N in the dataset: data_args.train.shot, '
    'data_args.multitest.NAME.cfg.shot',
    'data_args.use_icl': f"{DATASET_OWN}: type='LinkContextDataset' has them; leave it out",
    'data_args.use_mix': "write the mixture as a dataset: type='InterleaveDataset', cfgs=[...], probabilities=[...]",
    'model_args.cache_dir': 'set the environment variable HF_HOME',
    'model_args.freeze_mm_projector': 'write freeze_mm_mlp_adapter=True',
    'model_args.gen_kwargs_set_bos_token_id': TOKEN_ID,
    'model_args.gen_kwargs_set_eos_token_id': TOKEN_ID,
    'model_args.gen_kwargs_set_pad_token_id': TOKEN_ID,
    'model_args.image_token_len': 'the number follows from vision_tower, image_size and projector; leave it out',
    'model_args.is_multimodal': 'every model here is; leave it out',
    'model_args.process_func_args': 'there is one encoder for all; write conv_args (templates, transforms) and '
    'target_processor (boxes)',
    'model_args.sep_image_conv_front': 'write <image> in the template_string where the image is to stand',
}
"""What an unknown key of a config, by its path, is called today. Only for models that have no such argument."""

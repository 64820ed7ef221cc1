# SmolVLM2 of 500 million parameters: 64 tokens an image of 512 pixels, as long as it is not cut into tiles.
# A name on the Hugging Face hub; name a folder with --cfg-options model_args.model_name_or_path=...
model_args = dict(
    type='hf_vlm',
    model_name_or_path='HuggingFaceTB/SmolVLM2-500M-Video-Instruct',
    max_tiles=1,
    model_max_length=4096,
    freeze=['model.vision_model'],
    conv_args=dict(few_shot='turns'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

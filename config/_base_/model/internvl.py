# InternVL3 of 1 billion parameters: 256 tokens for a tile of 448 pixels, and one tile an image.
# A name on the Hugging Face hub; name a folder with --cfg-options model_args.model_name_or_path=...
model_args = dict(
    type='hf_vlm',
    model_name_or_path='OpenGVLab/InternVL3-1B-hf',
    max_tiles=1,
    model_max_length=8192,
    freeze=['model.vision_tower'],
    conv_args=dict(few_shot='turns'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

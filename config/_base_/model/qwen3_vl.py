# Qwen3-VL of 2 billion parameters: a token for each 32 x 32 pixels of an image, here 256 at the most.
# A name on the Hugging Face hub; name a folder with --cfg-options model_args.model_name_or_path=...
model_args = dict(
    type='hf_vlm',
    model_name_or_path='Qwen/Qwen3-VL-2B-Instruct',
    max_pixels=512 * 512,
    model_max_length=8192,
    freeze=['model.visual'],
    conv_args=dict(few_shot='turns'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

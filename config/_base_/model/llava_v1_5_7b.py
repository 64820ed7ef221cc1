# LLaVA-1.5 as published, in the authors' own layout: CLIP at 336 pixels, 576 tokens an image, a projector of two layers.
# 'llava-hf/llava-1.5-7b-hf' is the same model in Hugging Face's layout and can be named instead.

model_args = dict(
    type='llava',
    version='v1',
    model_name_or_path='liuhaotian/llava-v1.5-7b',
    vision_tower='openai/clip-vit-large-patch14-336',
    mm_use_im_start_end=False,
    model_max_length=4096,
    freeze_vision_tower=True,
    dtype='float32',
    attn_implementation='sdpa',
    conv_args=dict(
        conv_template='vicuna_v1.1',
        episode_template='link_context',
        # Squares are filled up with the mean colour of CLIP's pixels.
        transforms=dict(type='Expand2square', background=(122, 116, 104)),
    ),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

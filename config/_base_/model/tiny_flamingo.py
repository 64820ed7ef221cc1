# A Flamingo of drawn weights that runs in seconds on one CPU core; all of it learns.
TINY_LLAVA = '{{fileDirname}}/../../../data/tiny_llava'

model_args = dict(
    type='openflamingo',
    tokenizer=TINY_LLAVA,
    vision_tower=dict(
        model_type='clip_vision_model',
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    ),
    image_size=32,
    llm=dict(
        model_type='llama',
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
    ),
    sizes=dict(perceiver_depth=2, num_latents=4, num_heads=2, head_dim=16),
    freeze_vision_tower=False,
    freeze_llm=False,
    model_max_length=2048,
    conv_args=dict(conv_template='openflamingo_vqa', episode_template='openflamingo_vqa'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

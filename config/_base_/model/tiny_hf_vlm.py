# A SmolVLM of drawn weights that runs every config in seconds; tools/tiny_hf_vlm/build_processor.py made its processor.
TINY_HF_VLM = '{{fileDirname}}/../../../data/tiny_hf_vlm'

model_args = dict(
    type='hf_vlm',
    processor=TINY_HF_VLM,
    config=dict(
        model_type='smolvlm',
        scale_factor=2,
        vision_config=dict(
            image_size=32,
            patch_size=8,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
        ),
        text_config=dict(
            model_type='llama',
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        ),
    ),
    model_max_length=2048,
)

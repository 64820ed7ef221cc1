# A LLaVA that can learn to point within minutes: 36 features of a 96-pixel image, one token per coordinate, and one per
# word. tools/tiny_llava/train_scene_encoder.py made data/tiny_llava/scenes.
SCENES_LLAVA = '{{fileDirname}}/../../../data/tiny_llava/scenes'

model_args = dict(
    type='llava',
    version='v1',
    tokenizer=SCENES_LLAVA,
    vision_tower=SCENES_LLAVA + '/vision',
    mm_vision_select_layer=-1,
    mm_vision_select_feature='full',
    projector='grid',
    projector_args=dict(num_tokens=36),
    pretrain_mm_mlp_adapter=SCENES_LLAVA + '/adapter.safetensors',
    llm=dict(
        model_type='lfm2',
        hidden_size=96,
        num_hidden_layers=4,
        # Attention first: a word looks for its image features before convolutions mix it with its neighbours.
        layer_types=['full_attention', 'conv', 'full_attention', 'conv'],
        conv_L_cache=8,
        conv_bias=True,
        num_attention_heads=3,
        num_key_value_heads=3,
        intermediate_size=288,
        block_auto_adjust_ff_dim=False,
        initializer_range=0.102,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=1e6),
    ),
    decoder_init='open_gates',
    # The convolutions' biases stay as they start: see mllm/models/llava/decoder_init.py.
    freeze=['*.conv.in_proj.bias'],
    feature_cache='memory',
    model_max_length=1024,
    conv_args=dict(conv_template='vicuna_v1.1', transforms=dict(type='Expand2square')),
    target_processor=dict(boxes=dict(type='TokenFormatter', num_bins=33)),
)

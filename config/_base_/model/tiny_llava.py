# A LLaVA small enough for one CPU core: LFM2 layers, a contrast-trained image encoder, one token per image.
# `make encoder` makes the encoder again; tools/tiny_llava/ has all that made data/tiny_llava.
TINY_LLAVA = '{{fileDirname}}/../../../data/tiny_llava'

model_args = dict(
    type='llava',
    version='v1',
    tokenizer=TINY_LLAVA,
    vision_tower=TINY_LLAVA + '/vision',
    mm_vision_select_layer=-1,
    mm_vision_select_feature='full',
    projector='pool',
    projector_args=dict(num_tokens=1, dim=64),
    pretrain_mm_mlp_adapter=TINY_LLAVA + '/projector.safetensors',
    llm=dict(
        model_type='lfm2',
        hidden_size=64,
        num_hidden_layers=4,
        layer_types=['conv', 'full_attention', 'conv', 'full_attention'],
        conv_L_cache=8,
        conv_bias=True,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=192,
        block_auto_adjust_ff_dim=False,
        initializer_range=0.125,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=1e6),
    ),
    decoder_init='open_gates',
    # The convolutions' biases stay as they start: see mllm/models/llava/decoder_init.py.
    freeze=['model.vision_tower', 'model.multi_modal_projector.pool', '*.conv.in_proj.bias'],
    feature_cache='memory',
    model_max_length=2048,
    conv_args=dict(
        conv_template='vicuna_v1.1', episode_template='link_context', transforms=dict(type='Expand2square')
    ),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

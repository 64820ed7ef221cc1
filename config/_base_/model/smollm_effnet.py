# SmolLM2-135M-Instruct behind EfficientNet-Lite0, both really pretrained: `python tools/smollm_effnet/build.py` makes
# data/smollm_effnet from weights that pip packages carry. One token per image; the projector's last map is what learns.
SMOLLM_EFFNET = '{{fileDirname}}/../../../data/smollm_effnet'

model_args = dict(
    type='llava',
    version='v1',
    llm=SMOLLM_EFFNET + '/llm',
    vision_tower=SMOLLM_EFFNET + '/vision',
    mm_vision_select_layer=-1,
    mm_vision_select_feature='full',
    projector='pool',
    projector_args=dict(num_tokens=1, dim=128),
    pretrain_mm_mlp_adapter=SMOLLM_EFFNET + '/projector.safetensors',
    freeze=['model.multi_modal_projector.pool'],
    tune_mm_mlp_adapter=True,
    feature_cache=SMOLLM_EFFNET + '/features',
    model_max_length=2048,
    conv_args=dict(conv_template='bare', episode_template='pairs', transforms=dict(type='Expand2square')),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

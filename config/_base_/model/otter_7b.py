# Otter over LLaMA-7B: CLIP ViT-L/14, cross-attention before every fourth layer, answers after <answer>.
# A folder with the published weights (config.json, pytorch_model-*.bin); the tokenizer has its own repository.

model_args = dict(
    type='otter',
    model_name_or_path='luodian/OTTER-Image-LLaMA7B-LA-InContext',
    tokenizer='luodian/llama-7b-hf',
    vision_tower='openai/clip-vit-large-patch14',
    model_max_length=2048,
    # Otter trains the embeddings whole and, over LLaMA, the head.
    tune_embeddings='all',
    tune_lm_head=True,
    # Published numbers were probably generated with True: after the first token, no image was seen.
    legacy_cache=False,
    conv_args=dict(conv_template='otter_spaced', episode_template='otter_spaced'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

# OpenFlamingo-3B: CLIP ViT-L/14 and MPT-1B, cross-attention before every layer. Published weights hold what was trained;
# tower and language model come from their own repositories. Names on the Hugging Face hub; name folders with
# --cfg-options model_args.llm=... model_args.vision_tower=... model_args.checkpoint=...

model_args = dict(
    type='openflamingo',
    llm='anas-awadalla/mpt-1b-redpajama-200b',
    vision_tower='openai/clip-vit-large-patch14',
    checkpoint='openflamingo/OpenFlamingo-3B-vitl-mpt1b',
    cross_attn_every_n_layers=1,
    model_max_length=2048,
    # Also 'openflamingo', what it was trained with, 'openflamingo_caption', 'openflamingo_hateful_memes', and Otter's.
    conv_args=dict(conv_template='openflamingo_vqa', episode_template='openflamingo_vqa'),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

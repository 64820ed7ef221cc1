# LLaVA v1 on a 7B LLaMA with CLIP ViT-L/14 at 224 pixels: 256 tokens an image, one linear map between them.
# Names on the Hugging Face hub; name folders with --cfg-options model_args.llm=... model_args.vision_tower=...

model_args = dict(
    type='llava',
    version='v1',
    llm='lmsys/vicuna-7b-v1.3',
    vision_tower='openai/clip-vit-large-patch14',
    mm_vision_select_layer=-2,
    mm_vision_select_feature='patch',
    projector='linear',
    mm_use_im_start_end=True,
    model_max_length=2048,
    freeze_vision_tower=True,
    # Weights stay float32 and training_args.bf16 computes in bfloat16: at a learning rate of 2e-5, steps are below the
    # resolution of bfloat16 weights. To evaluate only, dtype='bfloat16' halves the memory.
    dtype='float32',
    attn_implementation='sdpa',
    conv_args=dict(
        conv_template='vicuna_v1.1', episode_template='link_context', transforms=dict(type='Expand2square')
    ),
    target_processor=dict(boxes=dict(type='PlainBoxFormatter')),
)

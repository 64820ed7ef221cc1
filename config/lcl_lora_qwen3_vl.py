# Link-context learning with LoRA on Qwen3-VL: the paper's [2-way] episodes of 17 images, then ImageNet-100. Images are
# kept to 256 x 256 pixels, 64 tokens each.
_base_ = ['_base_/dataset/imagenet_lcl.py', '_base_/model/qwen3_vl.py', '_base_/train/vlm_lora.py']

model_args = dict(
    max_pixels=256 * 256,
    lora=dict(r=16, alpha=32, dropout=0.05, target=['model.language_model.*_proj']),
)
data_args = dict(
    train=_base_.TRAIN_2WAY,
    multitest={name: _base_.TEST100[name] for name in ('ImageNet_100_1', 'ImageNet_100_4', 'ImageNet_100_8')},
    gen_kwargs=dict(max_new_tokens=32),
)
training_args = dict(per_device_train_batch_size=1, gradient_accumulation_steps=8)

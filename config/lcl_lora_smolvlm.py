# Link-context learning with LoRA on a small published VLM: the paper's [2-way] episodes of 17 images, 64 tokens each,
# then ImageNet-100. For episodes of your own images replace the dataset.
_base_ = ['_base_/dataset/imagenet_lcl.py', '_base_/model/smolvlm.py', '_base_/train/vlm_lora.py']

model_args = dict(lora=dict(r=16, alpha=32, dropout=0.05, target=['model.text_model.*_proj']))
data_args = dict(
    train=_base_.TRAIN_2WAY,
    multitest={name: _base_.TEST100[name] for name in ('ImageNet_100_1', 'ImageNet_100_4', 'ImageNet_100_8')},
    gen_kwargs=dict(max_new_tokens=32),
)

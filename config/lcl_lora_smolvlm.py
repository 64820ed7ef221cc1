# Link-context learning with LoRA on a small published VLM: the paper's [2-way] episodes of 17 images, 64 tokens each,
# then ImageNet-100. For episodes of your own images replace the dataset.
_base_ = ['_base_/dataset/imagenet_lcl.py', '_base_/model/smolvlm.py', '_base_/train/llava_fsdp.py']

model_args = dict(lora=dict(r=16, alpha=32, dropout=0.05, target=['model.text_model.*_proj']))
data_args = dict(
    train=_base_.TRAIN_2WAY,
    multitest={name: _base_.TEST100[name] for name in ('ImageNet_100_1', 'ImageNet_100_4', 'ImageNet_100_8')},
    gen_kwargs=dict(max_new_tokens=32),
)
training_args = dict(
    num_train_epochs=1,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=4,
    learning_rate=1e-4,
    save_steps=500,
    do_multi_predict=True,
)

# Six tasks on emoji scenes in one mixture: boxes from phrases and phrases from boxes, what is in a box, which of four
# boxes, how many, and a caption with boxes. Each is also asked about white images; see docs/grounding.md.
_base_ = ['_base_/dataset/emoji_scenes.py', '_base_/model/tiny_llava_scenes.py', '_base_/train/tiny_scenes.py']

data_args = dict(
    train=_base_.MIX_TRAIN,
    multitest={**_base_.MIX_TEST, **_base_.MIX_BLANKED},
    gen_kwargs=dict(max_new_tokens=56),
)
training_args = dict(max_steps=2400)

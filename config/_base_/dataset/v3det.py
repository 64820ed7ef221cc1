# V3Det for link-context learning: its COCO-style annotation with `neighbors` and `expired_imgs`. Its published prompt is
# model_args.conv_args.episode_template='link_context_v3det'.
V3DET = '{{$MLLM_DATA:data}}/v3det'

V3DET_TRAIN = dict(
    type='V3DetDataset',
    filename=V3DET + '/v3det_train.json',
    image_folder=V3DET,
    template_file='{{fileDirname}}/template/DOD.json',
    policy='policy_v1',
    shot=2,
)

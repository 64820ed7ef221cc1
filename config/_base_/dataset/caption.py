# Captions of COCO, as tools/convert.py writes them with --out data/coco_captions, on the images in data/coco.
CAPTION_DATA = '{{$MLLM_DATA:data}}'


def caption(split):
    return dict(
        type='CaptionDataset',
        filename=f'{CAPTION_DATA}/coco_captions/{split}.jsonl',
        image_folder=CAPTION_DATA + '/coco',
        template_file='{{fileDirname}}/template/image_cap.json',
    )


CAPTION_TRAIN = caption('train2014')
CAPTION_KARPATHY_TRAIN = caption('karpathy_train')
CAPTION_TEST = {
    f'CAPTION_COCO_{split.upper()}': dict(cfg=caption(split), compute_metric=dict(type='CaptionComputeMetrics'))
    for split in ('val2014', 'val2017', 'karpathy_val', 'karpathy_test')
}

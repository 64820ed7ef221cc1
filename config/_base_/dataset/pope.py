# POPE: is a thing in the image? As tools/convert.py writes it with --out data/pope.
POPE_DATA = '{{$MLLM_DATA:data}}'


def pope(split, images, template):
    return dict(
        cfg=dict(
            type='POPEVQADataset',
            filename=f'{POPE_DATA}/pope/{split}.jsonl',
            image_folder=f'{POPE_DATA}/{images}',
            template_file='{{fileDirname}}/template/' + template + '.json',
        ),
        compute_metric=dict(type='POPEComputeMetrics'),
    )


POPE_KINDS = ('random', 'popular', 'adversarial')
COCO_POPE = {f'COCO_POPE_{kind.upper()}_q_a': pope(f'coco_{kind}', 'coco/val2014', 'VQA') for kind in POPE_KINDS}
COCO_POPE_BCOT = {
    f'COCO_POPE_{kind.upper()}_q_bca': pope(f'coco_{kind}', 'coco/val2014', 'VQA_BCoT') for kind in POPE_KINDS
}
# The SEEM variants, on images of A-OKVQA (COCO) and of GQA.
AOKVQA_POPE = {f'AOKVQA_POPE_{kind.upper()}': pope(f'aokvqa_{kind}', 'coco/val2014', 'VQA') for kind in POPE_KINDS}
GQA_POPE = {f'GQA_POPE_{kind.upper()}': pope(f'gqa_{kind}', 'gqa/images', 'VQA') for kind in POPE_KINDS}

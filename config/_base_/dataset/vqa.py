# Questions with short answers: VQAv2, OK-VQA, VQA-E and VQA-X, as tools/convert.py writes them with --out data/vqav2,
# data/okvqa, data/vqa_e and data/vqa_x, on the images of COCO in data/coco.
VQA_DATA = '{{$MLLM_DATA:data}}'
VQA_IMAGES = '{{$MLLM_DATA:data}}/coco'
VQA_TEMPLATE = '{{fileDirname}}/template/'
VQA_METRIC = dict(type='VQAComputeMetrics')


def vqa(type, file, template='VQA', **more):
    return dict(
        type=type,
        filename=f'{VQA_DATA}/{file}.jsonl',
        image_folder=VQA_IMAGES,
        template_file=f'{VQA_TEMPLATE}{template}.json',
        **more,
    )


def vqa_test(cfg, metric=VQA_METRIC):
    return dict(cfg=cfg, compute_metric=metric)


VQAV2_TRAIN = vqa('VQAv2Dataset', 'vqav2/train')
OKVQA_TRAIN = vqa('VQAv2Dataset', 'okvqa/train')
VQAE_TRAIN = vqa('VQAEXDataset', 'vqa_e/train', 'VQA_CoT', is_e_dataset=True)
VQAX_TRAIN = vqa('VQAEXDataset', 'vqa_x/train', 'VQA_CoT', is_e_dataset=False)
VQA_TEST = dict(
    VQAv2_val=vqa_test(vqa('VQAv2Dataset', 'vqav2/val')),
    OKVQA_val=vqa_test(vqa('VQAv2Dataset', 'okvqa/val')),
    VQAE_val=vqa_test(vqa('VQAEXDataset', 'vqa_e/val', 'VQA_CoT', is_e_dataset=True)),
    VQAX_val=vqa_test(vqa('VQAEXDataset', 'vqa_x/val', 'VQA_CoT', is_e_dataset=False)),
    VQAX_test=vqa_test(vqa('VQAEXDataset', 'vqa_x/test', 'VQA_CoT', is_e_dataset=False)),
)
# Nobody but the official server knows the answers: predictions alone.
VQA_PREDICT = dict(
    VQAv2_testdev=vqa_test(vqa('PureVQADataset', 'vqav2/test-dev'), None),
    VQAv2_test=vqa_test(vqa('PureVQADataset', 'vqav2/test'), None),
)

# ScienceQA, text-only problems included, as tools/convert.py writes it with --out data/scienceqa.
SCIENCEQA = '{{$MLLM_DATA:data}}/scienceqa'


def science_qa(split, **more):
    return dict(
        type='ScienceQADataset',
        filename=f'{SCIENCEQA}/{split}.jsonl',
        image_folder=SCIENCEQA + '/images',
        template_file='{{fileDirname}}/template/VQA.json',
        **more,
    )


SCIENCEQA_TRAIN = science_qa('train')
SCIENCEQA_TRAIN_COT = science_qa('train', with_lecture=True, with_solution=True)
SCIENCEQA_TEST = {
    f'ScienceQA_{split}': dict(cfg=science_qa(split), compute_metric=dict(type='ScienceQAComputeMetrics'))
    for split in ('val', 'test', 'minival', 'minitest')
}

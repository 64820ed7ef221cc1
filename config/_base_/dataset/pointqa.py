# PointQA, as tools/convert.py writes it with --out data/pointqa; images of Visual Genome in data/visual_genome.
POINTQA = '{{$MLLM_DATA:data}}/pointqa'
POINTQA_METRIC = dict(type='PointQAComputeMetrics')


def pointqa(kind, split, version):
    return dict(
        type=f'Point_QA_{kind}',
        filename=f'{POINTQA}/{kind}_{split}.jsonl',
        image_folder='{{$MLLM_DATA:data}}/visual_genome',
        template_file='{{fileDirname}}/template/VQA.json',
        version=version,
        # One point near the corner is not yet a normalised one.
        box_unit='pixels',
    )


POINT_PLACES = ('b', 'p', 'bp')
POINT_LOCAL_TRAIN = {version: pointqa('local', 'train', version) for version in POINT_PLACES}
POINT_TWICE_TRAIN = {
    f'{question}_{place}': pointqa('twice', 'train', f'{question}-{place}')
    for question in ('oq', 'sq', 'gq')
    for place in POINT_PLACES
}
POINTQA_TEST = {
    **{
        f'POINT_LOCAL_{place}_{split}': dict(cfg=pointqa('local', file, place), compute_metric=POINTQA_METRIC)
        for place in ('b', 'p')
        for split, file in (('val', 'val'), ('testdev', 'testdev'), ('test', 'testfinal'))
    },
    **{
        f'POINT_TWICE_{question}_{place}_{split}': dict(
            cfg=pointqa('twice', split, f'{question}-{place}'), compute_metric=POINTQA_METRIC
        )
        for question in ('oq', 'sq', 'gq')
        for place in ('b', 'p')
        for split in ('val', 'test')
    },
}

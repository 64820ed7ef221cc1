# CLEVR, as tools/convert.py writes it with --out data/clevr.
CLEVR = '{{$MLLM_DATA:data}}/clevr'


def clevr(split, version, template):
    cfg = dict(
        type='ClevrDataset',
        filename=f'{CLEVR}/{split}.jsonl',
        image_folder=f'{CLEVR}/images/{split}',
        template_file='{{fileDirname}}/template/' + template + '.json',
        version=version,
    )
    if version != 'q-a':
        cfg['scene_graph_file'] = f'{CLEVR}/{split}_scenes.jsonl'
    return cfg


CLEVR_STYLES = dict(A='VQA', S='VQA_CoT', BS='VQA_PCoT')
CLEVR_TRAIN = {name: clevr('train', f'q-{name.lower()}', template) for name, template in CLEVR_STYLES.items()}
CLEVR_TEST = {
    f'CLEVR_{name}_VAL': dict(cfg=clevr('val', 'q-a', template), compute_metric=dict(type='GQAComputeMetrics'))
    for name, template in CLEVR_STYLES.items()
}

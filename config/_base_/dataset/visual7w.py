# Visual7W pointing, as tools/convert.py writes it with --out data/visual7w; images in data/visual7w/images.
VISUAL7W = '{{$MLLM_DATA:data}}/visual7w'


def visual7w(split, version):
    return dict(
        type='V7W_POINT',
        filename=f'{VISUAL7W}/{split}.jsonl',
        image_folder=VISUAL7W + '/images',
        template_file='{{fileDirname}}/template/VQA.json',
        version=version,
    )


POINT_V7W_TRAIN = {version: visual7w('train', version) for version in ('p', 'b')}
POINT_V7W_TEST = {
    f'POINT_V7W_{version}_{split}': dict(cfg=visual7w(split, version), compute_metric=dict(type='V7WComputeMetrics'))
    for version in ('p', 'b')
    for split in ('val', 'test')
}

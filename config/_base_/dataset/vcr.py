# Visual Commonsense Reasoning, as tools/convert.py writes it with --out data/vcr; images in data/vcr/vcr1images.
VCR = '{{$MLLM_DATA:data}}/vcr'
VCR_VERSIONS = ('q-a', 'q-ra', 'qc-a', 'qc-ra', 'qc-rac', 'qa-r', 'qac-r', 'q-a-q-r', 'qc-a-qc-r')
VCR_CHOICES = ('qc-a', 'qc-ra', 'qc-rac', 'qac-r', 'qc-a-qc-r')


def vcr(split, version, type='VCRDataset'):
    return dict(
        type=type,
        filename=f'{VCR}/{split}.jsonl',
        image_folder=VCR + '/vcr1images',
        template_file='{{fileDirname}}/template/' + ('VQA_BCoT' if 'r' in version else 'VQA') + '.json',
        version=version,
    )


VCR_TRAIN = {version: vcr('train', version) for version in VCR_VERSIONS}
VCR_TEST = {
    f'VCR_val_{version.replace("-", "_")}': dict(cfg=vcr('val', version), compute_metric=dict(type='VCRComputeMetrics'))
    for version in VCR_CHOICES
}
# The labels of the test split are not published.
VCR_PREDICT = {
    f'VCR_test_{version.replace("-", "_")}': dict(cfg=vcr('test', version, 'VCRPredDataset'), compute_metric=None)
    for version in VCR_CHOICES
}

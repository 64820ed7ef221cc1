# Describe what is in a box: the regions of Visual Genome, as tools/convert.py writes them with --out data/visual_genome.
GC_ROOT = '{{$MLLM_DATA:data}}/visual_genome'

GC_TRAIN = dict(
    type='GCDataset',
    filename=GC_ROOT + '/regions.jsonl',
    image_folder=GC_ROOT,
    template_file='{{fileDirname}}/template/GC.json',
)

# Flickr30k Entities, as tools/convert.py writes it with --out data/flickr30k; images in data/flickr30k/flickr30k-images.
FLICKR = '{{$MLLM_DATA:data}}/flickr30k'


def flickr(split, template, **more):
    return dict(
        type='FlickrDataset',
        filename=f'{FLICKR}/{split}.jsonl',
        image_folder=FLICKR + '/flickr30k-images',
        template_file='{{fileDirname}}/template/' + template + '.json',
        **more,
    )


FLICKR_TRAIN = flickr('train', 'flickr30k')
# Boxes in, caption out: the caption has the boxes of no phrase, of all, or of those asked about.
FLICKR_REVERSE_TRAIN = {
    form: dict(flickr('train', 'flickr30k_reverse', caption_with_box=form), type='flickr30k_reverse')
    for form in ('none', 'all', 'question')
}
FLICKR_TEST = {
    **{
        f'FLICKR_{name}_with_box': dict(
            cfg=flickr(split, 'flickr30k'), compute_metric=dict(type='FlickrComputeMetrics')
        )
        for name, split in (('EVAL', 'val'), ('TEST', 'test'))
    },
    **{
        f'FLICKR_{name}_without_box': dict(
            cfg=flickr(split, 'image_cap'), compute_metric=dict(type='CaptionComputeMetrics')
        )
        for name, split in (('EVAL', 'val'), ('TEST', 'test'))
    },
}

package consume

const MetadataPace = metadataPace

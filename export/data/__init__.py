"""What a training hears: recordings, corpora, augmentation, finishing."""

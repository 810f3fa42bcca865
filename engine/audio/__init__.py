"""Audio files: reading, decoding, containers, writing, tags, loudness, channel layouts."""

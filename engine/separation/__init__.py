"""From a mix to masks: first estimate, latent search, song spectra, places in the stereo field."""

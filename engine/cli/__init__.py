"""The command line of the engine: the verbs about mixes, presets and priors."""

"""How good is it? Quality reports, cross-likelihood of priors, samples to listen to."""

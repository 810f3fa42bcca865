"""A choir into its voices: where pitches come from, and what is made of the mix with them."""

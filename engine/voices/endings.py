"""What lies beside a mix, is called like it, and tells the pitches of its voices."""

SCORE_ENDINGS = (".mid", ".midi")
BESIDE_ENDINGS = (*SCORE_ENDINGS, ".f0.csv", ".f0.json")  # the best first

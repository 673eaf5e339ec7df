"""Training: FER-2013 (and FER+ votes) in, a run folder with a Keras model out. The device imports nothing from here."""

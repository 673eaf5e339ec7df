"""Ships the face detector: from a run folder of ``training.faces`` to int8, its .json, and what it is worth."""

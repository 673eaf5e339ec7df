"""``explain``: which parts of a face an answer hangs on, by SHAP and by hiding them, and whether to believe it."""

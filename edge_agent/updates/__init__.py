"""Signed updates of models: fetched and switched by the updater, tried by the agent (docs/updates.md).

Two programs share two files. The updater alone writes ``state.json`` in the models' folder, the agent alone writes
``updates.json`` beside its store. Each is replaced as a whole, so a power cut leaves the old one or the new one.
"""

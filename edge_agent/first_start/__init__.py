"""The first start: questions, their answers as a configuration, the one-time code, and a try-out alone.

``edge-agent setup`` asks in the terminal, the page ``/setup`` asks in a browser; both fill :class:`answers.Answers`.
"""

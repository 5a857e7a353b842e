"""Device models. Each gets its lines, clock and backend as arguments; none knows a bus or an
engine.
"""

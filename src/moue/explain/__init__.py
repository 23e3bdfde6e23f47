"""Which parts of a face an answer rests on, and how far such a map can be believed.

:class:`~moue.explain.explainer.Explainer` is the way in. ``occlusion`` asks any model and needs no torch; ``gradcam``
and ``integrated-gradients`` look into a run's own network. Every map comes with a test of itself, as maps that please
the eye need not say what the network does (Adebayo et al., "Sanity checks for saliency maps", 2018).
"""

"""Which parts of a face a prediction depends on, and how faithful such a heatmap is.

:class:`~moue.explain.explainer.Explainer` is the entry point. ``occlusion`` works with any model and needs no torch;
``gradcam`` and ``integrated-gradients`` need a run's network. Every heatmap comes with a test of its faithfulness, as
plausible heatmaps need not show what the network does (Adebayo et al., "Sanity checks for saliency maps", 2018).
"""

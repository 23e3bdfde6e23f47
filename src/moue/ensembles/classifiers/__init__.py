"""The classifiers of hybrids, by name. The table imports none of them."""

from moue.registry import Registry

__all__ = ["CLASSIFIERS"]

CLASSIFIERS = Registry(
    "classifier",
    {
        "linear-svm": "moue.ensembles.classifiers.linear_svm:LinearSVM",
        "svm": "moue.ensembles.classifiers.svm:RadialSVM",
        "gradient-boosting": "moue.ensembles.classifiers.gradient_boosting:GradientBoosting",
        "knn-svm": "moue.ensembles.classifiers.knn_svm:NeighborSVM",
    },
)

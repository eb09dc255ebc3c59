"""RemOve And Retrain (ROAR) for image classifiers, their distilled students and their attribution maps.

The science of the project. Nothing in this package knows Luigi; ``stages`` is its table of contents.
"""

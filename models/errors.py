"""What can go wrong with a model: every one of these refuses the model, exit code 5."""


class ModelError(Exception):
    """Base of every error of the models package."""


class SpecError(ModelError):
    """An architecture or a loss was asked for that cannot be built."""


class InputError(ModelError):
    """A tensor does not have the shape or type that the model was declared with."""


class WeightsError(ModelError):
    """A weights file is not what its model or its card says."""


class CardError(ModelError):
    """A model card cannot be read, or contradicts itself or its weights."""


class DataError(ModelError):
    """Labelled data cannot be read, or does not fit the model that it is meant for."""

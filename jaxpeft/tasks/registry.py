"""The tasks by the name that `config.task` gives."""

from collections.abc import Mapping

from jaxpeft.config import Config
from jaxpeft.tasks.relation_extraction import RelationExtraction
from jaxpeft.tasks.sequence_classification import SequenceClassification
from jaxpeft.tasks.task import Task
from jaxpeft.tasks.token_classification import TokenClassification

TASKS: Mapping[str, type[Task]] = {
    "sequence_classification": SequenceClassification,
    "relation_extraction": RelationExtraction,
    "token_classification": TokenClassification,
}


def task_of(config: Config, classes: list[str] | tuple[str, ...]) -> Task:
    """The task of a run whose model has these classes. Raises InputError for classes that it cannot work with."""
    return TASKS[config.task](config, classes)

"""The cases of `eval_run.py` as a task of inspect_ai: `inspect eval inspect_task.py -T cases=FILE`."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import Score, Target, accuracy, includes, scorer
from inspect_ai.solver import TaskState, generate, system_message


@scorer(metrics=[accuracy()])
def word_count(max_count: int = 50):
    """Score whether the answer has at most so many words."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value="C" if len(state.output.completion.split()) <= max_count else "I")

    return score


@task
def bench(cases: str) -> Task:
    """Return the task."""
    dataset = json_dataset(cases, lambda row: Sample(id=row["id"], input=row["vars"]["text"], target="hello"))
    return Task(
        dataset=dataset, solver=[system_message("Repeat the text."), generate()], scorer=[includes(), word_count()]
    )

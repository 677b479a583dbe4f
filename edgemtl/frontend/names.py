"""Names of tasks: what the graph or its metadata calls them, made legal, or what the user calls them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from edgemtl.bundle import TASK_NAME
from edgemtl.errors import UsageError
from edgemtl.frontend.model import MultiTaskModel, Task
from edgemtl.frontend.passes import Notes
from edgemtl.graph import dtype_of
from edgemtl.suggest import one_of
from edgemtl.vocabulary import KINDS, describe_shape, fits_kind

MAX_LENGTH = 128
NO_NAME = "task"
SPELLED = "named"
GUESSED = "an output of the graph,"
RECORDED = "recorded as"
"""How a note on a task goes on, behind its name, that says what its name or its kind was taken from."""
RULE = f"at most {MAX_LENGTH} letters, digits and _.- without two dots in a row, and must not start with . or -"


def name_tasks(names: Sequence[str]) -> tuple[tuple[str, ...], Notes]:
    """`legal_names`, and a note for each that changes."""
    legal = legal_names(names)
    changed = ((name, task) for name, task in zip(names, legal, strict=True) if name != task)
    why = "which no task can be; --rename calls it otherwise"
    return legal, tuple(f"{_subject(task)}{SPELLED} {name!r} in the file, {why}" for name, task in changed)


def legal_names(names: Sequence[str]) -> tuple[str, ...]:
    """For each name one that a bundle and a file may have, different from all others.

    A legal name stays. In others each character that is not allowed becomes _, dots and dashes at the start go, and
    what is longer than 128 characters is cut. A name that another one has already gets _2, _3 and so on.
    """
    taken = {name for name in names if is_legal(name)}
    return tuple(_legal(names, taken))


def _legal(names: Sequence[str], taken: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if is_legal(name) and name not in seen:
            seen.add(name)
            yield name
            continue
        legal = _first_free(_spell(name), taken | seen)
        seen.add(legal)
        yield legal


def is_legal(name: str) -> bool:
    """Whether a bundle takes this name."""
    return TASK_NAME.fullmatch(name) is not None and ".." not in name


def _spell(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]|\.(?=\.)", "_", name.lstrip(".-"))
    return plain[:MAX_LENGTH] or NO_NAME


def _first_free(name: str, taken: set[str]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        suffix = f"_{count}"
        free = name[: MAX_LENGTH - len(suffix)] + suffix
    return free


def new_names(tasks: Sequence[tuple[str, str]], renames: Mapping[str, str]) -> tuple[str, ...]:
    """What tasks (name, output in the file) are called after ``renames``, from a name or an output's.

    Raises UsageError for a task there is not, and for names that are not allowed or not different.
    """
    names = [name for name, _ in tasks]
    for old, new in renames.items():
        places = [i for i, (name, _) in enumerate(tasks) if old == name]
        places = places or [i for i, (_, output) in enumerate(tasks) if old == output]
        if not places:
            raise UsageError(one_of("OLD of --rename OLD=NEW", (name for name, _ in tasks), old))
        if not is_legal(new):
            raise UsageError(f"--rename {old}: the new name must have {RULE}, not {new!r}")
        names[places[0]] = new
    if len(set(names)) < len(names):
        raise UsageError(f"--rename must leave tasks with names of their own, not {', '.join(names)}")
    return tuple(names)


def rename_tasks(model: MultiTaskModel, renames: Mapping[str, str]) -> MultiTaskModel:
    """The model with tasks called otherwise; ``renames`` and errors as of `new_names`."""
    names = new_names([(task.name, task.output) for task in model.tasks], renames)
    tasks = tuple(replace(task, name=name) for task, name in zip(model.tasks, names, strict=True))
    calls = {old.name: new.name for old, new in zip(model.tasks, tasks, strict=True) if old.name != new.name}
    return replace(model, tasks=tasks, notes=_renamed_notes(model.notes, calls))


def change_kinds(model: MultiTaskModel, kinds: Mapping[str, str]) -> MultiTaskModel:
    """The model with other kinds by task, without the notes on what these were taken as before.

    Raises UsageError for a task or kind there is not, and for a kind that the output's shape forbids.
    """
    shapes = {
        task.name: value.shape.numpy()
        for task, value in zip(model.tasks, model.ir.graph.outputs, strict=True)
        if value.shape is not None
    }
    outputs = zip(model.tasks, model.ir.graph.outputs, strict=True)
    dtypes = {task.name: dtype_of(value) for task, value in outputs}
    for name, kind in kinds.items():
        if name not in shapes:
            raise UsageError(one_of("TASK of --kind TASK=KIND", shapes, name))
        if kind not in KINDS:
            raise UsageError(one_of("KIND of --kind TASK=KIND", KINDS, kind))
        if kind != "other" and dtypes[name] != "float32":
            raise UsageError(f"--kind {name}={kind} must be of an output in float32, not {dtypes[name]}; leave it out")
        if not fits_kind(kind, shapes[name]):
            raise UsageError(
                f"--kind {name}={kind} must be of an output with {describe_shape(kind)}, not {list(shapes[name])}; "
                "leave it out to get arrays"
            )
    tasks = tuple(_with_kind(task, kinds.get(task.name, task.kind)) for task in model.tasks)
    stale = tuple(_subject(task) + beginning for task in kinds for beginning in (GUESSED, RECORDED))
    return replace(model, tasks=tasks, notes=tuple(note for note in model.notes if not note.startswith(stale)))


def _with_kind(task: Task, kind: str) -> Task:
    """Names of classes go with the meaning they were recorded for."""
    return replace(task, kind=kind, classes=task.classes if kind == task.kind else ())


def _renamed_notes(notes: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """The notes under the new ``names`` of tasks, but those on how an old name was spelled."""
    stale = tuple(_subject(old) + SPELLED for old in names)
    subjects = {_subject(old): _subject(new) for old, new in names.items()}
    return tuple(_under(note, subjects) for note in notes if not note.startswith(stale))


def _under(note: str, subjects: Mapping[str, str]) -> str:
    return next((new + note.removeprefix(old) for old, new in subjects.items() if note.startswith(old)), note)


def _subject(task: str) -> str:
    return f"task {task}: "

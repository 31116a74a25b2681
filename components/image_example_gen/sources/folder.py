"""Folders: `photos/cat/1.jpg`, or with the splits given, `photos/train/cat/1.jpg`."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from components.image_example_gen.sources.entry import Entry, Rejected, UnusableDataset, reject
from trainer import keys
from trainer.data.labels import name_problems
from trainer.store.uris import is_remote

# Folders and files that systems and programs leave among the images.
_SYSTEM_NAMES = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
)
_SPLIT_NAMES = {
    "train": keys.TRAIN,
    "val": keys.VAL,
    "valid": keys.VAL,
    "validation": keys.VAL,
    "test": keys.TEST,
}
OUTSIDE = "a link that leads out of the images folder"
LINKED_FOLDER = "a link to a folder, whose files are read where they are"


@dataclass(frozen=True)
class ClassFolder:
    """A folder with the images of one class; with given splits a class has several.

    Attributes:
      path: of the folder.
      label: class name.
      splits: see `Entry`.
    """

    path: str
    label: str
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder of class folders, which may hold folders themselves.

    Names that begin with a dot, and those of system files, are skipped.

    Attributes:
      root: its path, local or on a file system that TFX reads.
    """

    root: str

    def check(self) -> int:
        """See `Source.check`."""
        if not _is_folder(self.root):
            raise UnusableDataset("there is no such folder.", where=self.root)
        folders = self.class_folders()
        labels = sorted({folder.label for folder in folders})
        problems = name_problems(labels)
        if problems:
            raise UnusableDataset(problems, where=self.root)
        if len(labels) < 2:
            raise UnusableDataset(
                f"{self.root} holds {len(labels)} class folders; a classifier needs two or more.",
                to_do="Put the images of each class into a folder of its own, named like the "
                "class, or give a manifest.",
            )
        counts = Counter(dict.fromkeys(labels, 0))
        for folder in folders:
            counts[folder.label] += sum(1 for _ in self._files(folder.path))
        empty = [label for label in labels if not counts[label]]
        if empty:
            raise UnusableDataset(
                f"no files in {', '.join(empty)}.",
                where=self.root,
                to_do="Add images, or remove the folder.",
            )
        return sum(counts.values())

    def entries(self) -> Iterator[Entry | Rejected]:
        """See `Source.entries`."""
        for folder in self.class_folders():
            for path, problem in self._files(folder.path):
                if problem:
                    yield reject(path, problem, folder.label)
                else:
                    yield Entry(path, folder.label, folder.splits)

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        for folder in self.class_folders():
            for path, _ in self._files(folder.path):
                yield path

    def class_folders(self) -> list[ClassFolder]:
        """The classes' folders, sorted.

        Folders named train, val (or valid, validation) and test are no classes if there are no
        others, and there are folders in each. Images of a split that is missing are taken from
        train's, by the ordinary rule.
        """
        names = _folders_in(self.root)
        given = {name: _SPLIT_NAMES.get(name.lower(), "") for name in names}
        inner = {name: _folders_in(os.path.join(self.root, name)) for name in names if given[name]}
        is_divided = keys.TRAIN in given.values() and len(names) > 1
        if not (is_divided and all(inner.get(name) for name in names)):
            return [ClassFolder(os.path.join(self.root, name), name) for name in names]
        return [
            ClassFolder(os.path.join(self.root, name, label), label, self._allowed(given, name))
            for name in names
            for label in inner[name]
        ]

    @staticmethod
    def _allowed(given: dict[str, str], name: str) -> tuple[str, ...]:
        if given[name] != keys.TRAIN:
            return (given[name],)
        return tuple(
            split for split in keys.SPLITS if split == keys.TRAIN or split not in given.values()
        )

    def _files(self, folder: str) -> Iterator[tuple[str, str]]:
        """(path, why it is rejected or nothing) of each file in a folder and below it."""
        if is_remote(folder):
            yield from ((path, "") for path in remote_files(folder))
        else:
            yield from _local_files(folder, os.path.realpath(self.root))


def _local_files(folder: str, root: str) -> Iterator[tuple[str, str]]:
    for name in _names(folder):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            yield path, _link_problem(path, root)
        elif os.path.isdir(path):
            yield from _local_files(path, root)
        else:
            yield path, ""


def _link_problem(path: str, root: str) -> str:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return ""  # it leads nowhere, which the reader says better
    if os.path.commonpath([root, target]) != root:
        return OUTSIDE
    return LINKED_FOLDER if os.path.isdir(target) else ""


def remote_files(folder: str) -> Iterator[str]:
    """Addresses of the files in a folder of a store and below it, without system files."""
    for name in _names(folder):
        path = os.path.join(folder, name)
        if name.endswith("/"):
            yield from remote_files(path.rstrip("/"))
        else:
            yield path


def _folders_in(folder: str) -> list[str]:
    names = [name.rstrip("/") for name in _names(folder)]
    return [name for name in names if _is_folder(os.path.join(folder, name))]


def _names(folder: str) -> list[str]:
    """What a folder holds, sorted, without system files. In a bucket folders end in a slash."""
    if is_remote(folder):
        from tfx.dsl.io import fileio

        names = list(fileio.listdir(folder))
    else:
        try:
            # TensorFlow's listing fails on a name that is not UTF-8.
            names = os.listdir(folder)
        except OSError as error:
            raise UnusableDataset(f"cannot be read: {error.strerror}.", where=folder) from error
    return sorted(name for name in names if not is_system_name(name.rstrip("/")))


def is_system_name(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system: no image of anybody."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _is_folder(path: str) -> bool:
    if is_remote(path):
        from tfx.dsl.io import fileio

        return bool(fileio.isdir(path))
    return os.path.isdir(path)

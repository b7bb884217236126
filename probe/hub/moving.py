"""To the Hub and back. A repository that is a path is a folder here, with the same files; the Hub needs its client."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from metaprobe.probe.hub.card import LIBRARY, card
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import refuse_special, write_bytes, write_text
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.otherwise import told_iteration

__all__ = ["local_folder", "pull", "push"]

_WEIGHTS, _CARD = "model.safetensors", "README.md"  # where the Hub looks for them


def push(checkpoint: Path, repo: str, private: bool = False, licence: str | None = None) -> str:
    """Write a checkpoint and its card to a repository; what of metaprobe's is there is replaced.

    Args:
        checkpoint: the file; read and checked first.
        repo: "user/name" on the Hub, or a folder: a path that begins with ".", "/" or "~", or a file:// address.
        private: of a new repository of the Hub: who is not invited cannot see it.
        licence: as the Hub spells it, "mit"; None for none told.

    Returns:
        Where it is now.

    Raises:
        UnreadableInput: the checkpoint is damaged, or none.
        MetaprobeError: the folder has a README.md of other origin; the Hub's client is missing, or the Hub refuses.
    """
    loaded = load_checkpoint(checkpoint)
    folder = local_folder(repo)
    text = card(loaded, repo if folder is None else f"./{folder.name}", licence)
    if folder is not None:
        return str(_into(folder, checkpoint, text))
    client = _client("push")
    with tempfile.TemporaryDirectory() as staged:
        _into(Path(staged), checkpoint, text)
        try:
            client.HfApi().create_repo(repo, private=private, exist_ok=True)
            at = told_iteration(loaded.iteration, loaded.provenance)
            parts = (loaded.config.algorithm, *([] if at is None else [f"iteration {at}"]), loaded.fingerprint[:12])
            told = ", ".join(parts)
            client.HfApi().upload_folder(repo_id=repo, folder_path=staged, commit_message=f"metaprobe push: {told}")
        except _refusals(client) as error:
            raise _refused("push to", repo, error) from error
    return f"https://huggingface.co/{repo}"


def pull(repo: str, out: Path | None = None, revision: str | None = None) -> Path:
    """Fetch a checkpoint from a repository; it is checked before it is written, and nothing in it is ever executed.

    Args:
        repo: as `push` takes it.
        out: the file to write (default: NAME.safetensors here; there, another file is not replaced).
        revision: a branch, tag or commit of a repository of the Hub.

    Returns:
        The file.

    Raises:
        UnreadableInput: there is no folder, or no checkpoint of metaprobe's in it, or it is damaged.
        MetaprobeError: the file is there with other content; the Hub's client is missing, or the Hub refuses.
    """
    folder = local_folder(repo)
    if folder is not None and revision is not None:
        raise MetaprobeError(f"--revision {revision} is of a repository of the Hub; {repo} is a folder, leave it out")
    source = _fetched(repo, revision) if folder is None else _weights_in(folder, repo)
    load_checkpoint(source)
    content = source.read_bytes()
    target = out or Path(f"{folder.name if folder is not None else repo.rpartition('/')[2]}.safetensors")
    if out is None and target.is_file() and target.read_bytes() != content:
        raise MetaprobeError(f"{target} is there with other content; name the file to write with --out")
    refuse_special(target)
    write_bytes(target, content)
    return target


def local_folder(repo: str) -> Path | None:
    """Return the folder that a repository's name means; None for one of the Hub.

    Raises:
        MetaprobeError: it is neither a path nor "user/name".
    """
    if repo.startswith("file://"):
        return Path(repo.removeprefix("file://")).absolute()
    if repo.startswith((".", "/", "~")):
        return Path(repo).expanduser().absolute()
    if not all(repo.partition("/")) or repo.count("/") > 1:
        told = "expected user/name on the Hub, or a folder as ./folder"
        raise MetaprobeError(f"repository {visible(repo, 80)!r}: {told}")
    return None


def _into(folder: Path, checkpoint: Path, text: str) -> Path:
    before = folder / _CARD
    if before.exists() and f"library_name: {LIBRARY}" not in before.read_text(encoding="utf-8", errors="replace"):
        raise MetaprobeError(f"{before} is not a card of metaprobe's and would be replaced; choose another folder")
    write_bytes(folder / _WEIGHTS, checkpoint.read_bytes())
    write_text(before, text)
    return folder


def _weights_in(folder: Path, repo: str) -> Path:
    if not folder.is_dir():
        raise UnreadableInput(f"{repo} is not there, or no folder; name one that `metaprobe push` wrote, or user/name")
    if not (folder / _WEIGHTS).exists():
        raise _without_weights(repo)
    return folder / _WEIGHTS


def _fetched(repo: str, revision: str | None) -> Path:
    client = _client("pull")
    try:
        return Path(client.hf_hub_download(repo, _WEIGHTS, revision=revision))
    except client.errors.LocalEntryNotFoundError as error:  # no network: of the client's, an `EntryNotFoundError` too
        raise _refused("pull from", repo, error) from error
    except client.errors.EntryNotFoundError as error:
        raise _without_weights(repo) from error
    except _refusals(client) as error:
        raise _refused("pull from", repo, error) from error


def _without_weights(repo: str) -> UnreadableInput:
    return UnreadableInput(f"{repo} has no {_WEIGHTS}, so nothing that `metaprobe push` wrote")


def _client(command: str) -> Any:
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]  # an extra
        import huggingface_hub.errors  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        told = f"{command} needs huggingface_hub for a repository of the Hub"
        raise MetaprobeError(f"{told}: pip install 'metaprobe[hub]'; a folder, as ./folder, needs nothing") from error
    return huggingface_hub


def _refusals(client: Any) -> tuple[type[Exception], ...]:
    """Return what the client raises where the Hub refuses, a name is none, or there is no network."""
    return (client.errors.HfHubHTTPError, client.errors.HFValidationError, OSError)


def _refused(what: str, repo: str, error: Exception) -> MetaprobeError:
    said = visible(" ".join(str(error).split()), 300) or type(error).__name__
    return MetaprobeError(f"{what} {repo} failed: {said}. (`hf auth login` signs in)")

"""Errors as the user sees them: one message and an exit code, never a traceback unless asked for."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

import typer

from haiku_edge.runtime.errors import HaikuEdgeError, StoppedError, UsageError

UNEXPECTED = 99
"""Exit code of a fault in haiku-edge itself."""

EXPORT_PACKAGES = frozenset(
    {
        "anndata",
        "h5py",
        "lifelines",
        "onnx",
        "onnxscript",
        "safetensors",
        "scipy",
        "skimage",
        "sklearn",
        "tensorboardX",
        "torch",
        "zarr",
    }
)
"""What only the export extra installs."""


@contextlib.contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Run a command; print what went wrong, and end with the error's exit code."""
    try:
        yield
    except HaikuEdgeError as error:
        _show(error, str(error), debug)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(StoppedError.exit_code) from None
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except MemoryError as error:
        _show(error, "There was not enough memory. Close other programs, or pass a smaller --threads.", debug)
        raise typer.Exit(UNEXPECTED) from None
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXPORT_PACKAGES:
            _show(error, f"This command needs the package {error.name}. Install haiku-edge[export].", debug)
            raise typer.Exit(UsageError.exit_code) from None
        # The text of a foreign exception may hold anything, a patient's name too; its kind may not.
        _show(
            error,
            f"A fault in haiku-edge ({type(error).__name__}). Run again with --debug and report what it shows.",
            debug,
        )
        raise typer.Exit(UNEXPECTED) from None


def _show(error: BaseException, message: str, debug: bool) -> None:
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True)
    typer.echo(f"Error: {message}", err=True)

"""The model as a fingerprint says: operation by operation, or as machine code of this computer."""

from pathlib import Path

from rspipe.models.errors import ModelError
from rspipe.models.machinecode import CodeSpec, CompiledPredictor
from rspipe.models.predictor import Predictor
from rspipe.models.toolchain import CompileError
from rspipe.pipeline.errors import EnvironmentFailedError, ModelRefusedError
from rspipe.pipeline.fingerprint import Fingerprint

type Model = Predictor | CompiledPredictor


def open_model(card: Path, fingerprint: Fingerprint, window_px: int, *, judging: bool = False) -> Model:
    """Load a model; machine code is made first where this computer has none.

    Args:
        card: of the model.
        fingerprint: says on what and how.
        window_px: side of every window; machine code takes no other.
        judging: it will be asked what is unfamiliar.

    Raises:
        ModelRefusedError: card or weights are refused.
        EnvironmentFailedError: there is no machine code and none can be made.
    """
    try:
        if not fingerprint.is_compiled:
            return Predictor.load(card, fingerprint.device, fingerprint.precision)
        spec = CodeSpec(
            card=card,
            batch=fingerprint.batch,
            window_px=window_px,
            threads=fingerprint.threads,
            precision=fingerprint.precision,
            judging=judging,
        )
        return CompiledPredictor.load(spec)
    except ModelError as error:
        raise ModelRefusedError(str(error)) from error
    except CompileError as error:
        raise EnvironmentFailedError(str(error)) from error

"""Make the machine code of a model: `python -m rspipe.models.compiling SPEC PATH`."""

import sys
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.export import random_windows
from rspipe.models.interact import keep_positions
from rspipe.models.machinecode import CodeSpec
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.models.standalone import Standalone, StandaloneJudge
from rspipe.models.weights import load_weights


def make(spec: CodeSpec, path: Path) -> None:
    """Write the code of a model as a package of AOTInductor.

    Raises:
        ModelError: card or weights are refused.
    """
    torch.set_num_threads(spec.threads)
    card = ModelCard.read(spec.card)
    model = build(card.spec)
    load_weights(model, spec.card.parent / card.weights_name, card.weights_sha256)
    keep_positions(model, spec.window_px // FINEST_STRIDE_PX)
    standalone = (StandaloneJudge if spec.judging else Standalone)(model, card, spec.precision)
    program = torch.export.export(standalone, random_windows(card, spec.batch, spec.window_px))
    # weights as constants of the code may be laid out as its products read them
    aoti_compile_and_package(program, package_path=str(path), inductor_configs={"freezing": True})


if __name__ == "__main__":
    make(CodeSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2]))

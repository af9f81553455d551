"""Where models are found: those that come with the package, and those that a user names by path."""

from pathlib import Path

from rspipe.models.card import ModelCard
from rspipe.models.errors import CardError

SHIPPED = Path(__file__).parent


def shipped(folder: Path = SHIPPED) -> dict[str, Path]:
    """Return model id -> path of its card, in the order of the ids.

    Raises:
        CardError: a card is refused, or two cards carry the same id.
    """
    cards: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        model_id = ModelCard.read(path).model_id
        if model_id in cards:
            raise CardError(f"{cards[model_id].name} and {path.name} both call their model {model_id!r}")
        cards[model_id] = path
    return dict(sorted(cards.items()))


def resolve(name: str, folder: Path = SHIPPED) -> Path:
    """Return the card of a shipped model by its id, or the card at a path that ends in `.json`.

    Raises:
        CardError: there is no such model or file.
    """
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise CardError(f"{name}: no model card is there")
        return path
    cards = shipped(folder)
    if name not in cards:
        known = ", ".join(cards) or "none"
        raise CardError(f"no model is called {name!r}; shipped: {known}; or give the path of a card (.json)")
    return cards[name]

"""A character model of the help texts that ship with Python, which writes a few lines after each epoch.

fit train examples/characters.py --plugins logging
"""

import math
from functools import partial
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn

from fit_core import Trainer, hookimpl
from fit_core.items import Text
from fit_core.modes import eval_mode
from fit_metrics import loss


class CharacterModel(nn.Module):
    """Maps (batch, length) characters to (batch, characters, length) scores of those that follow."""

    def __init__(self, characters: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, 64)
        self.gru = nn.GRU(64, size, batch_first=True)
        self.scores = nn.Linear(size, characters)

    def forward(self, text: Tensor) -> Tensor:
        """Return the scores, in the order that `nn.CrossEntropyLoss` asks for."""
        scores: Tensor = self.scores(self.gru(self.embedding(text))[0])
        return scores.transpose(1, 2)


class Writer:
    """Lets the model write after each epoch.

    Args:
        alphabet: the characters by number.
        length: how many of them to write.
    """

    passive = True

    def __init__(self, alphabet: str, length: int = 200) -> None:
        self.alphabet, self.length = alphabet, length

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.show("written", lambda: Text(self.write(trainer.model, trainer.generator(self))))

    @torch.no_grad()
    def write(self, model: nn.Module, generator: torch.Generator) -> str:
        """Draw one character after the other, each from what the model expects after the last hundred."""
        text = [self.alphabet.index("T")]
        with eval_mode([model]):
            for _ in range(self.length):
                expected = model(torch.tensor([text[-100:]]))[0, :, -1].softmax(0)
                text.append(int(torch.multinomial(expected, 1, generator=generator)))
        return "".join(self.alphabet[number] for number in text)


def build_trainer(lr: float = 5e-3, size: int = 128, length: int = 64, epochs: int = 6) -> Trainer:
    """Learn to write like a manual, letter by letter.

    Args:
        lr: the highest learning rate.
        size: of the memory.
        length: characters in a piece of text.
        epochs: how many epochs to train.
    """
    manual = "".join(topics.values())[:250_000]
    alphabet = "".join(sorted(set(manual)))
    numbers = torch.tensor([alphabet.index(character) for character in manual])
    pieces = numbers.unfold(0, length + 1, length)  # each begins with the last character of the one before
    inputs, targets = pieces[:, :-1], pieces[:, 1:]
    return Trainer(
        CharacterModel(len(alphabet), size),
        nn.CrossEntropyLoss(),
        partial(torch.optim.Adam, lr=lr),
        metrics=["accuracy", ("bits", loss() / math.log(2))],
        plugins=["clip:norm=1", "lr:schedule=cosine,warmup=0.05", Writer(alphabet)],
        train_data=(inputs[:-400], targets[:-400]),
        val_data=(inputs[-400:], targets[-400:]),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

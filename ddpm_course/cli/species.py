"""The command `ddpm-course species`, and labels by name."""

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass
class Species:
    """List the species by number and name, for `sample --label`."""

    def run(self) -> None:
        from ddpm_course.data.flowers102 import species

        for label, name in enumerate(species()):
            print(f"{label:3} {name}")


def species_label(name: str, classes: int) -> int:
    """The label of a species in a network of so many classes; only letters matter in `name`.

    Raises ValueError for an unknown name, with those that are closest, and where classes have none.
    """
    from ddpm_course.data.flowers102 import species

    names = species()
    if classes != len(names):
        raise ValueError(
            f"The classes of this network have no names: give --label a number from 0 to "
            f"{classes - 1}, not {name}."
        )
    labels = {_letters(known): label for label, known in enumerate(names)}
    if _letters(name) in labels:
        return labels[_letters(name)]
    closest = [names[labels[known]] for known in get_close_matches(_letters(name), labels)]
    guess = f" Closest are: {', '.join(closest)}." if closest else ""
    raise ValueError(
        f"There is no species called {name[:40]!r}.{guess} `ddpm-course species` lists all."
    )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())

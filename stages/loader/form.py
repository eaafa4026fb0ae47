"""In which form a stream gives values: standardised or as merged, unpacked or as bits, windows with the rows ahead."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.core.arrays import Header
from stages.core.errors import ExpectedError
from stages.core.standardise import DTYPE, Standard
from stages.processed import Processed


@dataclass(frozen=True)
class Form:
    """`packed`, `standardised` and `ahead` of `Settings`."""

    packed: bool = False
    standardised: bool = True
    ahead: bool = False

    def standards(self, data: Processed, part: str, headers: Mapping[str, Header]) -> dict[str, Standard]:
        """Return by field what standardises its rows once they are gathered; not those that need nothing.

        Parameters
        ----------
        data, part
            The processed arrays, and the part.
        headers
            Of the fields that are given, by name.

        Raises
        ------
        ExpectedError
            When values are wanted as they were merged, and split has standardised a field.
        DamagedFile
            When files do not fit together.
        """
        found = {name: data.standard(name, header) for name, header in headers.items()}
        if self.standardised:
            return {name: standard for name, standard in found.items() if standard}
        for name in data.features(part):
            if name in found and found[name] is None and headers[name].dtype == DTYPE and data.fit(name, part):
                raise ExpectedError(
                    f"{data.feature_path(name, part)}: standardised is False, but split wrote {name!r} standardised, "
                    "expected it as merged; set split.store: stored in params.yaml and `dvc repro`, or drop the setting"
                )
        return {}


@dataclass(frozen=True)
class Left:
    """What a stream that gives values raw or packed leaves to be done, by name of the field.

    Attributes
    ----------
    standards
        What standardises a field.
    stored
        Its dtype before.
    valid
        For some of these the field that says which of its rows are valid, uint8; the others become 0.
    bits
        The shape of an unpacked row.
    """

    standards: Mapping[str, Standard] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    valid: Mapping[str, str] = field(default_factory=dict)
    bits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def is_as(self, other: "Left") -> bool:
        """Return whether the same is left of another source."""
        if (self.stored, self.valid, self.bits) != (other.stored, other.valid, other.bits):
            return False
        return all(standard.is_as(other.standards[name]) for name, standard in self.standards.items())


FOR_A_TRAINER = Form()

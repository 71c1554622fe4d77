"""What `tensormoe check` says of a file of layers and the certificates beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..verification.coq.check import Verdict, check_file
from .certificates import Certificate
from .loading import read_certificates


@dataclass(frozen=True)
class Checked:
    """Which certificates belong to a file of layers, and what Coq says of them; prints as text.

    Args:
        certificates: those that the file names.
        verdicts: Coq's, by the paths of the certificates; none if a certificate does not belong to the file.
    """

    certificates: tuple[Certificate, ...]
    verdicts: Mapping[str, Verdict]

    @property
    def passed(self) -> bool:
        """Whether all certificates belong to the file, and Coq accepts them."""
        belong = not any(certificate.fault for certificate in self.certificates)
        return belong and all(verdict.passed for verdict in self.verdicts.values())

    def __str__(self) -> str:
        said = (f"\n{Path(path).name}\n\n{verdict}" for path, verdict in self.verdicts.items())
        return "\n".join([*map(str, self.certificates), *said])


def check_saved(path: Path) -> Checked:
    """Say which certificates belong to a file of layers. If all do, ask Coq whether they hold.

    Raises:
        TensorMoEError: as `tm.load`; a layer that was saved without a certificate; Coq is not installed.
    """
    certificates = read_certificates(path)
    if any(certificate.fault for certificate in certificates):
        return Checked(certificates, {})
    paths = dict.fromkeys(certificate.path for certificate in certificates)
    return Checked(certificates, {each: check_file(Path(each)) for each in paths})

"""A figure that a notebook shows, whether or not it has loaded pyplot. Needs Matplotlib."""

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A Matplotlib figure that no pyplot knows of."""

    def _repr_png_(self) -> bytes:
        with BytesIO() as file:
            self.savefig(file, format="png")
            return file.getvalue()

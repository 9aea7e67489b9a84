"""Sphinx directive: two picture files with a slider between them, as `repro.figures.compare` in notebooks.

    :::{compare} _static/photograph.jpg _static/painting.jpg
    :labels: photograph | network
    :alts: A cat. | The same cat in fine lines of blue and ochre.
    :::

The files, given relative to the page, become part of it.
"""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from repro.figures import Comparison


def pair(text):
    """Two texts around a bar."""
    before, after = (part.strip() for part in directives.unchanged_required(text).split("|"))
    return before, after


class Compare(SphinxDirective):
    required_arguments = 2
    option_spec = {"labels": pair, "alts": pair}  # noqa: RUF012, docutils wants it so

    def run(self):
        paths = [Path(self.env.relfn2path(name)[1]) for name in self.arguments]
        for path in paths:
            self.env.note_dependency(str(path))
        try:
            files = [path.read_bytes() for path in paths]
            comparison = Comparison(
                files, self.options.get("labels", ("before", "after")), self.options["alts"]
            )
        except KeyError:
            raise self.error("compare needs :alts: what is to be seen | on the two pictures") from None
        except (OSError, ValueError) as error:
            raise self.error(f"compare: {error}") from error
        return [nodes.raw("", comparison._repr_html_(), format="html")]


def setup(app):
    app.add_directive("compare", Compare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What the extensions share that write a part of a page when the book is built."""


def setup_page(app, page, fill):
    """Let ``fill(app, text)`` return the text of a page, which Sphinx makes anew in each build.

    It has to be made anew because Sphinx does not see what ``fill`` depends on.
    """

    def write(app, docname, source):
        if docname == page:
            source[0] = fill(app, source[0])

    app.connect("source-read", write)
    app.connect("env-get-outdated", lambda app, env, *changes: [page] if page in env.found_docs else [])
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Whether a cell was started by a front end that shows widgets."""


def has_widgets() -> bool:
    """Whether a browser that shows widgets asked for this cell.

    Only front ends with cells, such as JupyterLab, send the id of the cell along with its code.
    """
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    return "cellId" in kernel.get_parent("shell").get("metadata", {})

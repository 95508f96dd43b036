"""The bundle `vis`."""


def vis(tensorboard: bool = True, files: bool = True, visdom: bool = False) -> list[str]:
    """Keep what is logged and shown.

    Args:
        tensorboard: for TensorBoard.
        files: what is shown as pictures, tables and texts in the run folder, for which nothing need be installed or started.
        visdom: on a Visdom server, too.
    """
    sinks = {"tensorboard": tensorboard, "show-files": files, "visdom": visdom}
    return [name for name, wanted in sinks.items() if wanted]

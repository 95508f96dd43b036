"""The bundle `vis`."""


def vis(tensorboard: bool = True, files: bool = True, visdom: bool = False, curves: bool = True) -> list[str]:
    """Keep what is logged and shown, and show curves of losses, metrics and rates.

    Args:
        tensorboard: for TensorBoard.
        files: what is shown as pictures, tables and texts in the run folder, for which nothing need be installed or started.
        visdom: on a Visdom server, too.
        curves: a figure with all values over the epochs.
    """
    members = {"curves": curves, "tensorboard": tensorboard, "show-files": files, "visdom": visdom}
    return [name for name, wanted in members.items() if wanted]

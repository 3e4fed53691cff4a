"""Where the program starts: `mlrpl`, and `python -m mlrpl_cli`, the form that `torchrun -m` starts."""

import signal


def main() -> None:
    """Run the command line of this process."""
    # Until a command can say that it was interrupted, Ctrl-C just ends the process; Python would print a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlrpl_cli.app import main as run

    run()


if __name__ == "__main__":
    main()

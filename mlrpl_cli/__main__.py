"""`python -m mlrpl_cli`, the form that `torchrun -m` starts."""

from mlrpl_cli.app import main

if __name__ == "__main__":
    main()

"""One file per subcommand: parse, call one core function, print."""

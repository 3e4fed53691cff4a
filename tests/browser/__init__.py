"""Pages as a real browser shows them: `make browser-test`, for `make test` needs no browser."""

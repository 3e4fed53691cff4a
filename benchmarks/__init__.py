"""Speed and memory of mlrpl beside plain forms of the same computation, side by side in one run."""

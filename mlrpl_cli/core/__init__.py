"""The core of mlrpl: what the command line and the library share. It knows neither Typer nor Rich.

The way of an image and its label cells: labels → prepared → (images → backbones → features) → heads → training → runs
→ evaluation | prediction → sweep → reports. Only the options of training (`config`) lie here itself.
"""

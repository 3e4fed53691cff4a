"""Everyday objects: each a function of a pen, its main colour and an accent, in the pen's unit coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from mlrpl_cli.core.scenes.pen import INK, LEAF, RGB, SKY, STEEL, WOOD, Pen, arc, box, darker, lighter, mirrored, smooth


def apple(pen: Pen, main: RGB, accent: RGB) -> None:
    shoulder, waist = pen.vary(0.8, 0.06), pen.vary(0.56)
    side = [(0.0, -0.42), (0.36, -0.62), (shoulder, -0.3), (shoulder, 0.2), (waist, 0.72), (0.2, 0.86), (0.0, 0.78)]
    pen.bar([(0.0, -0.4), (0.04, -0.7), (pen.vary(0.14, 0.5), -0.95)], 0.09, WOOD)
    pen.surface(mirrored(side), main)
    pen.line(arc(0.0, -0.5, 0.26, 0.14, 20, 160), 0.05, darker(main))
    if pen.random.chance(0.75):
        pen.fill(smooth([(0.08, -0.66), (0.3, -0.98), (0.66, -0.94), (0.42, -0.66)]), LEAF)
    pen.shine(-0.42, -0.16, 0.12, 0.2, main)


def tomato(pen: Pen, main: RGB, accent: RGB) -> None:
    height = pen.vary(0.66, 0.08)
    side = [(0.0, -0.4), (0.4, -0.54), (0.88, -0.2), (0.9, 0.24), (0.55, height), (0.0, height + 0.1)]
    pen.surface(mirrored(side), main)
    for bend in (-0.34, 0.34):
        pen.line([(bend * 0.5, -0.3), (bend * 1.3, 0.05), (bend * 1.2, 0.45)], 0.04, darker(main, 0.2))
    pen.shine(-0.5, -0.06, 0.15, 0.1, main)
    tips = pen.random.integer(5, 6)
    star = [(math.pi * tip / tips + 0.3, 0.2 if tip % 2 else pen.vary(0.6)) for tip in range(2 * tips)]
    pen.fill([(radius * math.cos(angle), -0.4 + 0.5 * radius * math.sin(angle)) for angle, radius in star], LEAF)
    pen.bar([(0.0, -0.42), (pen.random.uniform(-0.12, 0.12), -0.72)], 0.1, darker(LEAF, 0.2))


def mug(pen: Pen, main: RGB, accent: RGB) -> None:
    width, taper = pen.vary(0.56), pen.random.uniform(0.0, 0.14)
    pen.bar(arc(width - 0.22, 0.06, 0.5, pen.vary(0.4), -72, 72), pen.vary(0.15), main)
    left, right = -width - 0.22, width - 0.22
    pen.surface([(right, -0.62), *arc(-0.22, 0.68, width - taper, 0.16, 0, 180), (left, -0.62)], main)
    if pen.random.chance(0.45):
        band = [(left + 0.03, -0.14), (right - 0.03, -0.14), (right - 0.06, 0.24), (left + 0.06, 0.24)]
        pen.fill(band, accent, outline=False)
    pen.ellipse(-0.22, -0.62, width, 0.17, lighter(main, 0.3))
    drink = pen.random.pick(((82, 50, 30), darker(main, 0.55), (150, 96, 52)))
    pen.ellipse(-0.22, -0.6, width - 0.09, 0.11, drink, outline=False)
    for offset in (-0.2, 0.15) if pen.random.chance(0.3) else ():
        steam = [(-0.22 + offset + 0.06 * math.sin(3 * step), -0.72 - 0.1 * step) for step in range(5)]
        pen.line(steam, 0.05, (226, 228, 232))


def teapot(pen: Pen, main: RGB, accent: RGB) -> None:
    width, height = pen.vary(0.56, 0.08), pen.vary(0.5, 0.1)
    pen.bar(arc(width - 0.06, 0.1, 0.44, 0.36, -80, 80), 0.12, main)
    pen.fill([(-0.4, 0.0), (-0.78, -0.34), (-1.0, -0.42), (-0.92, -0.24), (-0.7, 0.3), (-0.4, 0.42)], main)
    pen.fill([(-0.34, 0.52), (0.34, 0.52), (0.4, 0.72), (-0.4, 0.72)], darker(main, 0.25))
    pen.surface(arc(0.0, 0.16, width, height)[:-1], main)
    pen.fill(arc(0.0, -0.28, 0.36, 0.24, 180, 360), lighter(main, 0.25))
    pen.ellipse(0.0, -0.58, 0.1, 0.1, accent)
    for x in (-0.28, 0.0, 0.28) if pen.random.chance(0.5) else ():
        pen.ellipse(x, 0.18, 0.1, 0.1, accent, outline=False)
    pen.shine(-0.26, -0.06, 0.1, 0.07, main)


def mushroom(pen: Pen, main: RGB, accent: RGB) -> None:
    pale, height, width = (238, 224, 198), pen.vary(0.78, 0.1), pen.vary(0.24)
    pen.fill(mirrored([(0.0, -0.14), (width * 0.8, -0.1), (width, 0.4), (width * 1.35, 0.78), (0.0, 0.9)]), pale)
    pen.ellipse(0.0, 0.0, 0.8, 0.17, darker(pale, 0.25))
    pen.surface([*arc(0.0, 0.0, 0.9, height, 180, 360), *arc(0.0, 0.0, 0.9, 0.14, 0, 180)], main)
    for x, y, radius in ((-0.46, -0.24, 0.13), (0.04, -0.5, 0.15), (0.48, -0.2, 0.11), (0.08, -0.1, 0.1)):
        pen.ellipse(pen.vary(x), y * height / 0.78, pen.vary(radius, 0.3), radius * 0.8, lighter(main, 0.85), False)


def umbrella(pen: Pen, main: RGB, accent: RGB) -> None:
    height, panels = pen.vary(0.8, 0.12), pen.random.integer(4, 6)
    pen.bar([(0.0, -0.9), (0.0, 0.7), *arc(0.16, 0.7, 0.16, 0.2, 180, 10)], 0.07, pen.random.pick((WOOD, STEEL, INK)))
    edges = [-0.95 + 1.9 * panel / panels for panel in range(panels + 1)]
    second = pen.random.pick((accent, lighter(main, 0.6), darker(main, 0.3), main))
    rib = [(math.sin(step * 0.314), -height * math.cos(step * 0.314)) for step in range(6)]
    for panel, (left, right) in enumerate(pairwise(edges)):
        near, far = ([(edge * x, y) for x, y in rib] for edge in (left, right))
        hem = arc((left + right) / 2, 0.0, (right - left) / 2, 0.13, 180, 360)[1:-1]
        pen.fill([*near, *hem, *reversed(far)], second if panel % 2 else main)
    pen.line([(0.0, -height), (0.0, -height - 0.14)], 0.06, INK)


def sailboat(pen: Pen, main: RGB, accent: RGB) -> None:
    mast, tip = pen.random.uniform(-0.1, 0.12), pen.vary(-0.95, 0.05)
    pen.bar([(mast, 0.45), (mast, tip)], 0.06, WOOD)
    sail = pen.random.pick((main, (245, 244, 236), lighter(main, 0.6)))
    pen.surface([(mast + 0.05, tip + 0.06), (mast + 0.4, -0.2), (pen.vary(0.84, 0.08), 0.3), (mast + 0.05, 0.32)], sail)
    pen.fill([(mast - 0.05, tip + 0.2), (mast - 0.05, 0.32), (pen.vary(-0.62), 0.3)], lighter(sail, 0.3))
    hull = [(-0.86, 0.44), (0.92, 0.44), (0.7, 0.74), (0.5, 0.84), (-0.5, 0.84), (-0.7, 0.7)]
    pen.fill(hull, accent if sail != main else darker(main, 0.2))
    pen.line([(-0.78, 0.55), (0.82, 0.55)], 0.06, lighter(accent, 0.7))
    if pen.random.chance(0.4):
        pen.fill([(mast, tip), (mast + 0.26, tip + 0.08), (mast, tip + 0.16)], accent, outline=False)


def kite(pen: Pen, main: RGB, accent: RGB) -> None:
    middle, width, swing = pen.random.uniform(-0.5, -0.32), pen.vary(0.64), pen.random.uniform(0.12, 0.22)
    top, bottom, left, right = (0.0, -0.95), (0.0, 0.45), (-width, middle), (width, middle)
    tail = [(swing * math.sin(step * 0.9), 0.45 + 0.08 * step) for step in range(9)]
    pen.line(tail, 0.05, darker(accent))
    for x, y in tail[2::3]:
        pen.fill([(x - 0.16, y - 0.08), (x + 0.16, y + 0.08), (x + 0.16, y - 0.08), (x - 0.16, y + 0.08)], accent)
    centre, second = (0.0, middle), pen.random.pick((accent, lighter(main, 0.5), darker(main, 0.35)))
    for first, last, colour in ((top, left, main), (top, right, second), (bottom, left, second), (bottom, right, main)):
        pen.fill([centre, first, last], colour)
    pen.line([top, bottom], 0.04, INK)
    pen.line([left, right], 0.04, INK)


def clock(pen: Pen, main: RGB, accent: RGB) -> None:
    for side in (-1, 1) if pen.random.chance(0.45) else ():
        pen.bar([(side * 0.4, 0.6), (side * 0.62, 0.98)], 0.13, darker(main, 0.3))
        pen.ellipse(side * 0.5, -0.74, 0.28, 0.22, accent)
    pen.surface(box(-0.8, -0.8, 0.8, 0.8) if pen.random.chance(0.2) else arc(0.0, 0.0, 0.86, 0.86)[:-1], main)
    pen.ellipse(0.0, 0.0, 0.68, 0.68, pen.random.pick(((250, 248, 240), (236, 230, 208), (226, 236, 244))))
    for hour in range(12):
        angle, inner = math.radians(30 * hour), 0.46 if hour % 3 == 0 else 0.54
        x, y = math.sin(angle), math.cos(angle)
        pen.line([(inner * x, inner * y), (0.62 * x, 0.62 * y)], 0.07 if hour % 3 == 0 else 0.045, INK)
    time = pen.random.uniform(0, 12)
    for angle, reach, width in ((math.tau * (time / 12), 0.36, 0.1), (math.tau * (time % 1), 0.52, 0.07)):
        pen.line([(0.0, 0.0), (reach * math.sin(angle), -reach * math.cos(angle))], width, INK)
    pen.ellipse(0.0, 0.0, 0.08, 0.08, accent, outline=False)


def traffic_light(pen: Pen, main: RGB, accent: RGB) -> None:
    housing, width = pen.random.pick(((44, 46, 50), (36, 60, 48), (84, 84, 88), (190, 150, 30))), pen.vary(0.36, 0.1)
    pen.bar([(0.0, 0.5), (0.0, 1.15)], 0.15, STEEL)
    if pen.random.chance(0.4):
        pen.fill(box(-width - 0.1, -1.02, width + 0.1, 0.66), lighter(housing, 0.7))
    pen.fill(box(-width, -0.95, width, 0.6), housing)
    lit = pen.random.integer(0, 2)
    for lamp, colour in enumerate(((236, 50, 40), (250, 196, 36), (52, 206, 92))):
        y = -0.68 + 0.5 * lamp
        pen.ellipse(0.0, y, 0.22, 0.22, colour if lamp == lit else darker(colour, pen.random.uniform(0.3, 0.65)), False)
        pen.line(arc(0.0, y, 0.26, 0.26, 200, 340), 0.07, darker(housing, 0.6))
        if lamp == lit:
            pen.ellipse(-0.05, y - 0.06, 0.08, 0.07, lighter(colour, 0.7), outline=False)


def hot_air_balloon(pen: Pen, main: RGB, accent: RGB) -> None:
    gores, width = pen.random.integer(2, 4), pen.vary(0.74, 0.1)
    for x in (-0.17, 0.17):
        pen.line([(x * 1.4, 0.36), (x, 0.72)], 0.04, INK)
    pen.fill([(-0.2, 0.7), (0.2, 0.7), (0.16, 0.98), (-0.16, 0.98)], WOOD)
    side = [(0.0, -0.95), (0.5, -0.8), (1.0, -0.3), (0.72, 0.12), (0.26, 0.42)]
    pen.fill(mirrored([(width * x, y) for x, y in side]), main)
    second = pen.random.pick((accent, lighter(main, 0.6)))
    for gore in range(gores, 0, -1):
        share = (gore - 0.45) / (gores + 0.1)
        strip = mirrored([(width * x * share, y * (1 if x else 0.98)) for x, y in side])
        pen.fill(strip, second if (gores - gore) % 2 == 0 else main, outline=False)
    if pen.random.chance(0.5):
        band = [(-width * 0.97, -0.36), (width * 0.97, -0.36), (width * 0.98, -0.18), (-width * 0.98, -0.18)]
        pen.fill(band, accent, outline=False)


def light_bulb(pen: Pen, main: RGB, accent: RGB) -> None:
    glass, width = pen.random.pick(((255, 236, 140), (250, 248, 226), lighter(main, 0.55))), pen.vary(0.64, 0.1)
    side = [(0.0, -0.95), (width * 0.75, -0.76), (width, -0.3), (width * 0.74, 0.1), (0.3, 0.34), (0.28, 0.52)]
    pen.surface(mirrored(side), glass)
    filament = [(-0.14, 0.4), (-0.24, -0.2), (-0.08, -0.34), (0.0, -0.16), (0.08, -0.34), (0.24, -0.2), (0.14, 0.4)]
    pen.line(filament, 0.05, darker((216, 120, 30), 0.1))
    pen.fill(box(-0.3, 0.44, 0.3, 0.82), STEEL)
    for y in (0.52, 0.64, 0.76):
        pen.line([(-0.32, y - 0.03), (0.32, y + 0.03)], 0.05, darker(STEEL, 0.5))
    pen.fill([(-0.2, 0.82), (0.2, 0.82), (0.1, 0.98), (-0.1, 0.98)], INK)
    pen.shine(-0.3, -0.5, 0.1, 0.16, glass)


def ice_cream_cone(pen: Pen, main: RGB, accent: RGB) -> None:
    one, two = [(0.0, -0.32, 0.54)], [(0.0, -0.58, 0.4), (0.0, -0.1, 0.48)]
    three = [(0.0, -0.64, 0.36), (-0.3, -0.12, 0.38), (0.3, -0.12, 0.38)]
    wafer, scoops, width = (222, 166, 92), pen.random.pick((one, two, three)), pen.vary(0.44, 0.1)
    pen.fill([(-width, 0.0), (width, 0.0), (0.06, 1.0), (-0.06, 1.0)], wafer)
    for share in (0.2, 0.5, 0.8):
        start, low = -width + 2 * width * share, 1.0 - share
        end = start * (1 - low) + width * low * 0.5
        for side in (1, -1):
            pen.line([(side * start, 0.02), (side * end, low * 0.9)], 0.04, darker(wafer, 0.3))
    for (x, y, radius), flavour in zip(scoops, (main, accent, lighter(main, 0.5)), strict=False):
        pen.surface(arc(x, y, radius, radius * 0.95)[:-1], flavour)
    if pen.random.chance(0.5):
        pen.ellipse(0.05, -0.98, 0.12, 0.12, (206, 26, 50))


def fish(pen: Pen, main: RGB, accent: RGB) -> None:
    height, tail = pen.vary(0.46, 0.2), pen.vary(0.44, 0.15)
    pen.fill([(0.42, 0.0), (0.98, -tail), (0.84, 0.0), (0.98, tail)], accent)
    pen.fill([(-0.3, -height * 0.8), (0.1, -height - 0.3), (0.4, -height * 0.5)], accent)
    pen.fill([(-0.1, height * 0.8), (0.14, height + 0.22), (0.3, height * 0.6)], accent)
    back = [(-0.95, 0.02), (-0.6, -height * 0.8), (-0.1, -height), (0.56, -0.12)]
    pen.surface(smooth([*back, (0.56, 0.12), (-0.1, height), (-0.6, height * 0.8)]), main)
    for x in (-0.16, 0.14) if pen.random.chance(0.5) else ():
        pen.line(arc(x, 0.0, 0.12, height * (0.86 - x), -70, 70), 0.1, lighter(main, 0.6))
    pen.line(arc(-0.62, 0.0, 0.16, height * 0.7, -70, 70), 0.05, darker(main, 0.5))
    pen.ellipse(-0.68, -0.1, 0.11, 0.11, (250, 250, 246))
    pen.ellipse(-0.7, -0.1, 0.055, 0.055, INK, outline=False)


def butterfly(pen: Pen, main: RGB, accent: RGB) -> None:
    reach, low = pen.vary(0.92, 0.06), pen.vary(0.62, 0.12)
    for side in (-1, 1):
        upper = [(0.04, -0.1), (0.4, -0.74), (reach, -0.82), (reach * 0.98, -0.3), (0.56, 0.06)]
        lower = [(0.04, 0.06), (0.56, 0.04), (0.78, 0.4), (low * 0.8, 0.84), (0.2, 0.5)]
        pen.fill(smooth([(side * x, y) for x, y in lower]), darker(main, 0.2) if accent == main else accent)
        pen.surface(smooth([(side * x, y) for x, y in upper]), main)
        pen.ellipse(side * 0.66, -0.48, 0.16, 0.16, accent, outline=False)
        pen.ellipse(side * 0.5, 0.36, 0.12, 0.12, lighter(main, 0.5), outline=False)
        pen.line([(0.0, -0.5), (side * 0.12, -0.76), (side * 0.28, -0.96)], 0.045, INK)
    pen.ellipse(0.0, 0.02, 0.08, 0.56, INK)


def car(pen: Pen, main: RGB, accent: RGB) -> None:
    roof, front = pen.vary(-0.52, 0.12), pen.random.uniform(0.3, 0.5)
    pen.fill([(-0.66, 0.0), (-0.44, roof), (front - 0.08, roof), (front + 0.22, 0.0)], main)
    pen.fill([(-0.52, -0.04), (-0.37, roof + 0.1), (-0.08, roof + 0.1), (-0.08, -0.04)], SKY)
    pen.fill([(0.02, -0.04), (0.02, roof + 0.1), (front - 0.12, roof + 0.1), (front + 0.08, -0.04)], SKY)
    pen.surface([(-0.95, 0.06), (-0.86, -0.06), (0.7, -0.06), (0.94, 0.1), (0.98, 0.4), (-0.96, 0.4)], main)
    pen.line([(-0.02, 0.0), (-0.02, 0.34)], 0.035, darker(main, 0.5))
    pen.line([(0.06, 0.1), (0.2, 0.1)], 0.05, darker(main, 0.6))
    pen.ellipse(0.9, 0.18, 0.09, 0.1, (255, 240, 170))
    pen.ellipse(-0.92, 0.18, 0.06, 0.09, (220, 40, 36))
    for x in (-0.54, 0.54):
        pen.ellipse(x, 0.42, 0.25, 0.25, (34, 34, 38))
        pen.ellipse(x, 0.42, 0.12, 0.12, (196, 198, 204), outline=False)


def house(pen: Pen, main: RGB, accent: RGB) -> None:
    eaves, peak, width = pen.random.uniform(-0.3, -0.1), pen.vary(-0.92, 0.06), pen.vary(0.68, 0.1)
    if pen.random.chance(0.65):
        pen.fill(box(0.3, peak, 0.52, -0.2), (146, 84, 70))
    pen.surface(box(-width, eaves, width, 0.82), main)
    roof = accent if accent != main else darker(main, 0.5)
    pen.fill([(-width - 0.2, eaves + 0.04), (pen.random.uniform(-0.08, 0.08), peak), (width + 0.2, eaves + 0.04)], roof)
    door = pen.random.uniform(-0.3, 0.2)
    pen.fill(box(door - 0.15, 0.28, door + 0.15, 0.82), pen.random.pick((WOOD, darker(accent, 0.4))))
    for x in (door - 0.38, door + 0.42):
        if abs(x) < width - 0.12:
            pen.fill(box(x - 0.15, 0.1, x + 0.15, 0.42), pen.random.pick((SKY, (255, 232, 140))))
            pen.line([(x, 0.1), (x, 0.42)], 0.04, (240, 240, 236))
            pen.line([(x - 0.15, 0.26), (x + 0.15, 0.26)], 0.04, (240, 240, 236))


def flower(pen: Pen, main: RGB, accent: RGB) -> None:
    petals, reach, turn = pen.random.integer(5, 9), pen.vary(0.42, 0.1), pen.random.uniform(0, 1)
    bend = pen.random.uniform(-0.2, 0.2)
    pen.bar([(0.0, -0.35), (bend, 0.3), (bend * 0.6, 1.0)], 0.09, LEAF)
    pen.fill(smooth([(bend * 0.8, 0.62), (bend + 0.24, 0.3), (bend + 0.58, 0.26), (bend + 0.34, 0.56)]), LEAF)
    width, far = min(0.2, 1.15 / petals), reach + 0.16
    outline = [(0.1, 0.0), (reach * 0.7, width), (far, 0.6 * width), (far, -0.6 * width), (reach * 0.7, -width)]
    for petal in range(petals):
        angle = 2 * math.pi * (petal + turn) / petals
        x, y = math.cos(angle), math.sin(angle)
        pen.fill(smooth([(a * x - b * y, -0.4 + a * y + b * x) for a, b in outline], 3), main)
    pen.ellipse(0.0, -0.4, 0.2, 0.2, pen.random.pick(((250, 204, 60), (120, 70, 36), accent)))


def guitar(pen: Pen, main: RGB, accent: RGB) -> None:
    waist, lower, upper = pen.vary(0.26, 0.1), pen.vary(0.48, 0.08), pen.vary(0.36, 0.08)
    pen.bar([(0.0, 0.1), (0.0, -0.82)], 0.15, darker(WOOD, 0.3))
    pen.fill([(-0.13, -0.76), (0.13, -0.76), (0.17, -1.08), (-0.17, -1.08)], darker(WOOD, 0.45))
    bouts = [(upper * 0.75, -0.1), (upper, 0.1), (waist, 0.34), (lower, 0.62), (lower * 0.8, 0.9)]
    pen.surface(mirrored([(0.0, -0.14), *bouts, (0.0, 0.99)]), main)
    pen.fill(box(-0.07, -0.5, 0.07, 0.2), darker(WOOD, 0.3), outline=False)
    pen.ellipse(0.0, 0.3, 0.16, 0.16, INK)
    pen.fill(box(-0.2, 0.68, 0.2, 0.76), darker(WOOD, 0.4), outline=False)
    for x in (-0.05, 0.0, 0.05):
        pen.line([(x, -0.8), (x, 0.7)], 0.015, (226, 222, 206))
    for x, y in ((-0.21, -1.0), (0.21, -1.0), (-0.21, -0.86), (0.21, -0.86)):
        pen.ellipse(x, y, 0.05, 0.04, STEEL, outline=False)


def key(pen: Pen, main: RGB, accent: RGB) -> None:
    metal = pen.random.pick((main, (214, 176, 72), STEEL, (176, 128, 70)))
    radius, width = pen.vary(0.3, 0.1), pen.vary(0.14, 0.1)
    pen.bar([(0.0, -0.3), (0.0, 0.98)], width, metal)
    for y, reach in ((0.88, pen.vary(0.38)), (0.66, pen.vary(0.3)), (0.46, 0.24))[: pen.random.integer(2, 3)]:
        pen.bar([(0.0, y), (reach, y)], 0.13, metal)
    bow = arc(0.0, -0.6, radius, radius * pen.vary(0.95))
    pen.bar([*bow, bow[1]], 0.17, metal)
    pen.line([(-0.14, -0.2), (0.14, -0.2)], 0.08, darker(metal, 0.3))


OBJECTS: dict[str, Callable[[Pen, RGB, RGB], None]] = {
    "apple": apple, "butterfly": butterfly, "car": car, "clock": clock, "fish": fish, "flower": flower,
    "guitar": guitar, "hot air balloon": hot_air_balloon, "house": house, "ice cream cone": ice_cream_cone, "key": key,
    "kite": kite, "light bulb": light_bulb, "mug": mug, "mushroom": mushroom, "sailboat": sailboat, "teapot": teapot,
    "tomato": tomato, "traffic light": traffic_light, "umbrella": umbrella,
}  # fmt: skip
"""What is drawn, by class, in the order of the classes."""

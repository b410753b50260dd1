"""Prompt grammar: random English and Chinese paraphrases of a clip's attributes."""
import random

from domain import ATTRIBUTES, CIRCLE, LEFT, DOWN, STAR, Attributes

ENGLISH = {
    "color": {"red": ["red"] * 3 + ["crimson", "scarlet"], "green": ["green"], "blue": ["blue"], "yellow": ["yellow"],
              "orange": ["orange"], "purple": ["purple"] * 3 + ["violet"], "cyan": ["cyan"] * 3 + ["turquoise", "teal"],
              "white": ["white"]},
    "shape": {"circle": ["circle"] * 4 + ["ball", "disc", "disk", "dot", "sphere"],
              "square": ["square"] * 4 + ["box", "block", "cube"], "triangle": ["triangle"],
              "star": ["star"] * 3 + ["five-pointed star"], "ring": ["ring"] * 3 + ["donut", "hoop"]},
    "size": {"small": ["small"] * 2 + ["tiny", "little"], "big": ["big"] * 2 + ["large", "huge"]},
    "motion": {
        "left": ["moves left", "moves to the left", "moving left", "moving to the left", "goes left", "slides left",
                 "drifts left", "travels left", "flies left", "is moving left", "sliding to the left",
                 "moves from right to left", "moves leftward"],
        "right": ["moves right", "moves to the right", "moving right", "moving to the right", "goes right",
                  "slides right", "drifts right", "travels right", "flies right", "is moving right",
                  "sliding to the right", "moves from left to right", "moves rightward"],
        "up": ["moves up", "moving up", "goes up", "rises", "rising", "floats up", "is moving up", "moves upward",
               "moving upwards", "flies up", "moves from bottom to top"],
        "down": ["moves down", "moving down", "goes down", "falls", "falling", "sinks", "is moving down",
                 "moves downward", "moving downwards", "drops", "falls down", "moves from top to bottom"],
        "spin": ["spins", "spinning", "rotates", "rotating", "is spinning", "is rotating", "turns around",
                 "spins in place"],
        "grow": ["grows", "growing", "gets bigger", "expands", "is growing", "becomes larger", "getting bigger",
                 "expanding"],
        "shrink": ["shrinks", "shrinking", "gets smaller", "is shrinking", "becomes smaller", "getting smaller",
                   "contracts"],
        "bounce": ["bounces", "bouncing", "is bouncing", "bounces up and down", "hops", "jumping",
                   "jumps up and down"]},
    "background": {"black": ["black"] * 3 + ["dark"], "white": ["white"], "gray": ["gray", "grey"],
                   "navy": ["navy", "dark blue", "navy blue"],
                   "gradient": ["gradient"] * 2 + ["sunset", "sunset gradient"]}}
CHINESE = {
    "color": {"red": ["红色", "红"], "green": ["绿色", "绿"], "blue": ["蓝色", "蓝"], "yellow": ["黄色", "黄"],
              "orange": ["橙色", "橘色"], "purple": ["紫色", "紫"], "cyan": ["青色", "青"], "white": ["白色", "白"]},
    "shape": {"circle": ["圆形", "圆", "圆形", "球", "圆点"], "square": ["正方形", "方块", "方形"],
              "triangle": ["三角形", "三角"], "star": ["星星", "五角星", "星形"], "ring": ["圆环", "环", "环形"]},
    "size": {"small": ["小"], "big": ["大"]},
    "motion": {"left": ["向左移动", "往左移动", "向左运动", "左移", "从右向左移动", "向左滑动"],
               "right": ["向右移动", "往右移动", "向右运动", "右移", "从左向右移动", "向右滑动"],
               "up": ["向上移动", "往上移动", "上升", "向上运动", "升起"],
               "down": ["向下移动", "往下移动", "下落", "向下运动", "落下", "下降"],
               "spin": ["旋转", "转动", "在旋转", "原地旋转"], "grow": ["变大", "逐渐变大", "放大", "长大"],
               "shrink": ["变小", "逐渐变小", "缩小"], "bounce": ["弹跳", "跳动", "上下弹跳", "跳跃", "反弹"]},
    "background": {"black": ["黑色"], "white": ["白色"], "gray": ["灰色"], "navy": ["深蓝色", "藏青色"],
                   "gradient": ["渐变", "渐变色", "日落"]}}
WORDS = {"en": ENGLISH, "zh": CHINESE}
SAID = {"color": 0.95, "shape": 0.95, "size": 0.5, "motion": 0.93, "background": 0.75}  # chance to be mentioned
CHINESE_SHARE = 0.3


def _pick(rng: random.Random, cases: list[tuple[float, str]]) -> str:
    """One of the templates; the numbers are weights."""
    return rng.choices([text for _, text in cases], [weight for weight, _ in cases])[0]


def _with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _english(rng: random.Random, word: dict[str, str], said: dict[str, bool], motion: int) -> str:
    noun = word["shape"] if said["shape"] else rng.choice(["shape", "object", "thing"])
    head = " ".join([word[k] for k in ("size", "color") if said[k]] + [noun])
    head = _pick(rng, [(80, _with_article(head)), (7, "the " + head), (4, "one " + head), (9, head)])
    if said["motion"]:
        verb = word["motion"]
        if rng.random() < 0.06 and not verb.startswith("is "):
            verb = "that " + verb
        if rng.random() < 0.06:
            verb += rng.choice([" slowly", " smoothly", " across the screen" if LEFT <= motion <= DOWN else " slowly"])
        head += " " + verb
    text = head
    if said["background"]:
        name, named = word["background"], _with_article(word["background"])
        text = _pick(rng, [(50, f"{head} on {named} background"), (10, f"{head} over {named} background"),
                           (8, f"{head} against {named} background"), (8, f"{head}, {name} background"),
                           (7, f"{head} with {named} background"), (5, f"{head} on {name}"),
                           (6, f"on {named} background, {head}"), (6, f"{name} background, {head}")])
    text = _pick(rng, [(6, "a video of "), (4, "an animation of "), (2, "a clip showing "), (88, "")]) + text
    if rng.random() < 0.15:
        text += "."
    return text[0].upper() + text[1:] if rng.random() < 0.15 else text


def _chinese(rng: random.Random, word: dict[str, str], said: dict[str, bool], shape: int) -> str:
    noun = word["shape"] if said["shape"] else rng.choice(["图形", "物体", "形状"])
    color = word["color"] + rng.choice(["的", ""]) if said["color"] else ""
    head = color + noun
    if said["size"]:
        size = word["size"]
        head = _pick(rng, [(4, size + color + noun), (2, color + size + noun), (4, size + "的" + color + noun)])
    if rng.random() < 0.8:
        counter = {STAR: "一颗", CIRCLE: "一只"}.get(shape, "一个")
        head = rng.choice(["一个", "一个", counter, counter, "一个"]) + head
    verb = word["motion"] if said["motion"] else ""
    text = head + verb
    if said["background"]:
        name = word["background"]
        text = _pick(rng, [(4, f"{head}{verb}，{name}背景"), (2, f"{head}在{name}背景上{verb}"),
                           (2, f"{name}背景上，{head}{verb}"), (1, f"{name}背景，{head}{verb}"),
                           (1, f"{head}{verb}，背景是{name}")])
    if rng.random() < 0.15:
        text += "。"
    return "视频：" + text if rng.random() < 0.06 else text


def prompt(rng: random.Random, attributes: Attributes, language: str | None = None,
           complete: bool = False) -> tuple[str, set[str]]:
    """A paraphrase and the names of the attributes it mentions; `complete`: all but size are always mentioned."""
    language = language or ("zh" if rng.random() < CHINESE_SHARE else "en")
    values = {name: names[i] for (name, names), i in zip(ATTRIBUTES.items(), attributes)}
    said = {name: rng.random() < (1 if complete and name != "size" else chance) for name, chance in SAID.items()}
    word = {name: rng.choice(WORDS[language][name][value]) for name, value in values.items()}
    if language == "en":
        text = _english(rng, word, said, attributes[3])
    else:
        text = _chinese(rng, word, said, attributes[1])
    return text, {name for name, yes in said.items() if yes}

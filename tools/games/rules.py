"""rules.py - what the two games agree on with lammd: names, frames, numbers, reserved seeds.

Owns the map between a game's own action and the integers that a model speaks: CarRacing answers
[steering, gas, brake] with v = round(10*(c+1)) in 0..20 for c in -1..1 (gas and brake are never
below 10), Space Invaders one id of ACTIONS. Needs the standard library only.
"""
CAR, SPACE = "car_racing", "space_invaders"
FRAMES = {CAR: 2, SPACE: 4}  # pictures that one answer is made from
RESERVED = range(15)         # seeds and no-op counts that score; never trained on
TRAIN_SEED = 10000           # the first seed that may be trained on
ACTIONS = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
# what is done where an answer comes too late: nothing
DEFAULT = {CAR: {"steering": 0, "gas": 0, "brake": 0}, SPACE: "NOOP"}
# mean of 15 rounds: (expert, PAE-LaMM) of the paper's table 4
PAPER = {CAR: (853.91, 535.90), SPACE: (476.33, 232.67)}


def to_values(control):
    """Steering -1..1, gas 0..1, brake 0..1 as three integers of 0..20."""
    low = (-1.0, 0.0, 0.0)
    return [int(10 * (min(max(c, m), 1.0) + 1) + 0.5) for c, m in zip(control, low)]


def to_control(values):
    """The inverse: three integers of 0..20 as steering, gas, brake."""
    steering, gas, brake = (min(max(int(v), 0), 20) / 10 - 1 for v in values)
    return [steering, max(gas, 0.0), max(brake, 0.0)]


def move(game, answer):
    """The game's own action in an answer of /v1/act."""
    action = answer["action"]
    if game == CAR:
        return [float(action[k]) for k in ("steering", "gas", "brake")]
    if ACTIONS[action["id"]] != action["name"]:
        raise ValueError(f"action {action['id']} is not called {action['name']}")
    return action["id"]

"""driver.py - the scripted CarRacing expert: pure pursuit along the track that the game knows.

Steers at a point on the middle of the road, the farther ahead the faster it goes, and holds the
highest speed from which every bend in sight can still be taken: the minimum over the next tiles of
sqrt(v_bend^2 + 2 * BRAKING * distance), with v_bend = sqrt(GRIP * radius). It looks no further than
the frame shows (ten tiles), so that a model can learn it from the frame. Three rules make it come
back when it was thrown off: steering is damped by the car's own turning, a sliding car gets no gas,
and one that points away from the road goes slowly.

Reads env.unwrapped.car and .track. A track is 13 units wide, a tile 3.5 long, speed is in units a
second. Needs numpy.
"""
import math

import numpy as np

AHEAD, AHEAD_TIME = 5.0, 0.18  # distance of the point it steers at: units, and seconds of travel
SIGHT = 10                     # tiles
TOP_SPEED = 65.0
GRIP, BRAKING = 80.0, 60.0     # acceleration it trusts the car with: sideways, and slowing down
STEER, DAMP = 2.5, 0.25        # steering per radian off, and per radian a second of turning
GAS, BRAKE = 0.6, 0.6          # the most of either
TURNED, CRAWL = 0.8, 25.0      # pointing this many radians off, it goes at most so fast
SLIDE, SLIDE_BRAKE = 0.6, 0.3  # beyond this slip angle it brakes no harder than that
AROUND = np.arange(-15, 30)    # tiles near the last one among which the nearest is looked for


def bend_radius(road):
    """Radius of the circle through each tile and those two before and after it."""
    before, after = np.roll(road, 2, 0), np.roll(road, -2, 0)
    u, v = road - before, after - road
    sides = [np.linalg.norm(d, axis=1) for d in (u, v, after - before)]
    twice_area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return np.prod(sides, 0) / np.maximum(2 * twice_area, 1e-6)


def between(low, x, high):
    return max(low, min(high, x))


class Driver:
    """The expert of one episode; ask it once a frame."""

    def __init__(self, env):
        self.car = env.unwrapped.car
        self.road = np.array([(x, y) for _, _, x, y in env.unwrapped.track])
        self.bend_speed = np.minimum(np.sqrt(GRIP * bend_radius(self.road)), TOP_SPEED)
        self.gaps = np.linalg.norm(np.roll(self.road, -1, 0) - self.road, axis=1)
        self.at = 0

    def nearest(self, place):
        """The tile the car is at: near the last one, lest a road beside this one confuse it."""
        near = (self.at + AROUND) % len(self.road)
        d = np.linalg.norm(self.road[near] - place, axis=1)
        if d.min() > 40:  # thrown far away
            near, d = np.arange(len(self.road)), np.linalg.norm(self.road - place, axis=1)
        self.at = int(near[d.argmin()])
        return self.at

    def target_speed(self, i):
        speed, distance = TOP_SPEED, 0.0
        for j in (i + np.arange(SIGHT)) % len(self.road):
            speed = min(speed, math.sqrt(self.bend_speed[j] ** 2 + 2 * BRAKING * distance))
            distance += self.gaps[j]
        return speed

    def aim(self, i, place, reach):
        """The point of the road ahead that is `reach` away from place."""
        ahead = self.road[(i + np.arange(40)) % len(self.road)]
        d = np.linalg.norm(ahead - place, axis=1)
        far = np.flatnonzero(d[1:] >= reach)
        if not far.size:
            return ahead[1]
        k = far[0] + 1
        t = (reach - d[k - 1]) / (d[k] - d[k - 1]) if d[k - 1] < reach else 1.0
        return ahead[k - 1] + t * (ahead[k] - ahead[k - 1])

    def pedals(self, over, speed, slip, steering):
        """Gas and brake, never both, for a car that is `over` too fast."""
        if over >= 0:
            brake = min(BRAKE, 0.05 * over) if over > 1 else 0.0
            return 0.0, min(brake, SLIDE_BRAKE) if slip > SLIDE else brake
        gas = min(GAS, -0.1 * over) * (1 - 0.4 * abs(steering))
        return gas * max(0.0, 1 - 2 * slip) if speed > 15 else gas, 0.0

    def act(self):
        """Steering -1 (left) to 1, gas 0 to 1, brake 0 to 1."""
        hull = self.car.hull
        place, velocity = np.array(hull.position), np.array(hull.linearVelocity)
        nose = np.array([-math.sin(hull.angle), math.cos(hull.angle)])  # angle 0 looks along y
        speed = float(np.linalg.norm(velocity))
        i = self.nearest(place)
        to = self.aim(i, place, AHEAD + AHEAD_TIME * speed) - place
        off = math.atan2(-to[0], to[1]) - hull.angle  # positive: the point lies to the left
        off = (off + math.pi) % (2 * math.pi) - math.pi
        steering = between(-1.0, DAMP * hull.angularVelocity - STEER * off, 1.0)
        aside = velocity @ np.array([nose[1], -nose[0]])
        slip = abs(math.atan2(aside, velocity @ nose)) if speed > 5 else 0.0
        target = self.target_speed(i)
        if abs(off) >= TURNED:
            target = min(target, CRAWL)
        return steering, *self.pedals(speed - target, speed, slip, steering)

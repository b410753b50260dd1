"""What is compared: profiles, lengths and prompts. Frames are those of the video: 4 to a latent frame."""

PROMPT = "a red circle moves right on a black background"
OTHER = "a blue square grows on a white background"
NEGATIVE = "blurred"
SEED = 11
WIDTH, HEIGHT = 48, 32

BASE = {"first_chunk": 3, "chunk": 3, "sampler": "renoise", "timesteps": [1000, 750, 500, 250], "warp": True,
        "shift": 5, "context_timestep": 0, "window": 21, "sinks": 0, "sink_rope": "absolute", "fps": 8,
        "guidance_scale": 1, "prompt_change": "reset-cross"}

# name: (values of the profile, latent frames, what else)
CASES = {
    # Everything is in the window; three chunks.
    "whole": (dict(), 9, {}),
    # The ring wraps, more than once.
    "window": (dict(window=6), 15, {}),
    "frames": (dict(first_chunk=1, chunk=1, window=5, sampler="euler", shift=3,
                    timesteps=[1000, 800, 600, 400, 200]), 9, {}),
    "first_differs": (dict(first_chunk=1, chunk=3, window=7, sinks=1), 13, {}),
    "sinks": (dict(window=8, sinks=2), 15, {}),
    "relative": (dict(window=8, sinks=2, sink_rope="relative"), 15, {}),
    "context": (dict(window=6, context_timestep=125.5, timesteps=[1000, 612.5], warp=False), 9, {}),
    "guided": (dict(window=6, guidance_scale=2.5), 9, {}),
    "unipc": (dict(window=6, sampler="unipc"), 9, {}),
    # A prompt change at the third of five chunks, in each of three ways.
    "reset_cross": (dict(window=9, sinks=3), 15, {"change": "reset-cross"}),
    "recache": (dict(window=9, sinks=3), 15, {"change": "recache"}),
    "flush": (dict(window=9, sinks=3), 15, {"change": "flush"}),
}
CHANGE_FRAME = 6  # a latent frame with which a chunk begins


def profile(name):
    return {**BASE, **CASES[name][0]}


def frames(name):
    return (CASES[name][1] - 1) * 4 + 1


def change_seconds():
    """When the chunk from CHANGE_FRAME on starts."""
    return ((CHANGE_FRAME - 1) * 4 + 1) / BASE["fps"]

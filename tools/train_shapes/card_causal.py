"""The model card (README.md) of the causal shapes model."""
HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-video
language: [en, zh]
---
# shapes-causal

The low-noise expert of [`shapes`](../shapes/README.md) fine-tuned to make a video frame by frame: a latent frame sees
itself and the {past} latent frames before it, never the future, and every frame has its own timestep. So videos of any
length come out of constant memory:

    t2v generate --model models/shapes-causal --causal shapes-causal --seconds 20 --prompt "..." -o out.mp4

Text encoder and tokenizer are links into `../shapes`: move both folders together.

![eight prompts, every fourth of 65 frames, PyTorch rollout](gallery.png)

It knows the prompts of `shapes`. What goes left, right, up or down, grows or shrinks does so for one pass of
{pass_frames} frames and then comes back, to and fro; spinning and bouncing go on.

Defaults (`t2v.json`, `profiles/shapes-causal.json`): {side}x{side}, {fps} frames a second, blocks of one latent frame,
a window of {window} latent frames ({pass_frames} frames) with the current one, {steps} Euler steps, shift {shift},
guidance {guidance} (two caches).

## Training
Teacher forcing: one forward holds the clip twice, clean frames at timestep 0 and noisy ones at a timestep each; a noisy
frame sees itself and the clean frames before it. That is exactly what is rolled out: denoising passes over the cached
past, then a clean pass that writes the cache. Against drift, half of the clips have up to {context_noise} noise on the
context, and in every fourth step half of the context frames are the model's own guess from a noisy frame.

* Start: the low-noise expert. Text encoder and VAE encoder are kept as they are.
* Data: rendered here, no picture, video or text of others. {long_clips} clips of {long_frames} frames (three passes),
  {short_clips} clips of 17 frames. The held-out colour-shape-motion triples are those of `shapes`.
* {steps_done} steps, Muon rate {lr}, weights averaged; a batch is {long_batch} long clips, {short_batch} short ones or
  {first_batch} first frames; one single-thread process beside other work. Configuration hash `{config_hash}`, seeds
  {seeds}. {remarks}
* The VAE of `shapes` has never seen more than 17 frames and leaves dark blotches on gray backgrounds after frame 20
  (six true clips, encoded and decoded: down to 17 dB a frame). So its decoder was trained {decoder_steps} steps
  further, on {decoder_frames} frames out of clips of {decoder_clip} (then 33 to 41 dB).

Commands: `train_causal.py pool|train|decoder|export`, then `eval_causal.py`, in `tools/train_shapes`.
"""


def _accuracy(report: dict | None) -> str:
    if report is None:
        return "## Accuracy\nNot measured yet: run `tools/train_shapes/eval_causal.py`.\n"
    names = ("color", "background", "shape", "motion", "everything")
    how = "the PyTorch rollout" if report["engine"] == "torch" else "`t2v --causal` on a CPU in bf16, raw frames"
    lines = ["## Accuracy", f"{report['count']} held-out prompts (seed {report['seed']}), {report['frames']} frames, "
             f"{how}; per cent. Every pass of 17 frames is judged like a clip of its own; motion is right where "
             "it goes the way that it should in that very pass (reversed in the second and fourth).", "",
             "| frames | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for index, row in enumerate(report["passes"]):
        lines.append(f"| {16 * index} to {16 * index + 16} | " + " | ".join(str(row[n]) for n in names) + " |")
    return "\n".join(lines) + "\n"


def write_card(config: dict, facts: dict) -> str:
    stage = config["causal"]
    pool, decoder = stage["pool"], stage["decoder"]
    seeds = ", ".join(str(config["seeds"][name]) for name in ("long_pool", "causal", "long_decoder"))
    head = HEADER.format(
        past=stage["window"] - 1, pass_frames=config["frames"], side=config["side"], fps=config["sampling"]["fps"],
        window=stage["window"], steps=stage["sampling"]["steps"], shift=config["shift"],
        guidance=stage["sampling"]["guidance_scale"], context_noise=stage["context_noise"],
        long_clips=pool["parts"] * pool["clips"], long_frames=pool["frames"], short_clips=2 * config["pool"]["clips"],
        steps_done=stage["steps"], lr=stage["lr"], long_batch=stage["long_batch"], short_batch=stage["short_batch"],
        first_batch=stage["first_batch"], decoder_clip=decoder["clip_frames"],
        decoder_steps=decoder["phases"][0]["steps"], decoder_frames=decoder["phases"][0]["frames"],
        seeds=seeds, config_hash=facts["config_hash"],
        remarks=facts.get("remarks", ""))
    limits = "## Limits\n" + facts.get("weak_spots", "Not studied yet.") + "\n"
    return "\n".join([head, _accuracy(facts.get("eval")), limits,
                      "## Licence\nApache-2.0, weights and data generator alike."]) + "\n"

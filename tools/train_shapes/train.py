"""Trains the shapes model, stage by stage; every stage leaves a file and is skipped where the file is there.

    train.py all --work WORK --export models/shapes              from nothing
    train.py continue --start MODEL --work WORK --export DIR     widens the VAE of an exported model, trains its decoder
                                                                 and both experts further (as the shipped weights were)
    train.py all --smoke --work WORK                             a few steps of everything in this process

The two ranks of a stage are processes with one thread each. A stage that was stopped goes on from its last state.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import dit
import pool
import text
import tokenizer
import train_dit
import train_vae
from export import write_model
from runtime import HERE, Ranks, load_config, save
from vae import init_signal_preserving, make_vae, widen

STAGES = {"all": [("tokenizer", 1), ("text", 1), ("vae", 2), ("widen", 1), ("decoder", 2), ("pool", 2), ("joint", 2),
                  ("experts", 2), ("export", 1)],
          "continue": [("start", 1), ("widen", 1), ("pool", 2), ("decoder", 2), ("experts", 2), ("export", 1)]}


def shrink_for_smoke(config: dict) -> dict:
    """The same recipe with a handful of steps and clips."""
    small = config["smoke"]
    config["text"] |= {"steps": small["text"], "batch": 8}
    config["tokenizer"]["lines"] = 2000
    config["pool"] |= {"clips": small["clips"]}
    config["dit"]["batch"] = small["batch"]
    for name in ("joint", "low", "high", "high_more"):
        config[name]["steps"] = small["steps"]
    for name in ("vae", "decoder"):
        config[name]["phases"] = [p | {"steps": small["phases"], "batch": 1} for p in config[name]["phases"]]
    return config


class Stages:
    """One method per stage; files in the work folder connect them."""

    def __init__(self, config: dict, work: Path, ranks: Ranks, start: Path | None, target: Path | None):
        self.config, self.work, self.ranks, self.start_model, self.target = config, work, ranks, start, target
        self.wide_spec = config["vae_spec"] | {"base_dim": 2 * config["vae_spec"]["base_dim"]}

    def load_vae(self, name: str, is_wide: bool):
        vae = make_vae(self.wide_spec if is_wide else self.config["vae_spec"])
        vae.load_state_dict(torch.load(self.work / f"{name}.pt"))
        return vae

    def load_text_encoder(self):
        weights = torch.load(self.work / "text.pt")
        encoder = text.make_text_encoder(self.config["text_encoder"], weights["shared.weight"].shape[0])
        encoder.load_state_dict(weights)
        return encoder.eval().requires_grad_(False)

    def load_transformer(self, name: str):
        model = dit.make_transformer(self.config["transformer"])
        model.load_state_dict(torch.load(self.work / f"{name}.pt"))
        return model

    def tokenizer(self) -> None:
        tokenizer.train_tokenizer(self.config["tokenizer"], self.config["seeds"]["tokenizer"], self.work)

    def text(self) -> None:
        pieces = tokenizer.load_tokenizer(self.work / "spiece.model")
        save(self.work / "text.pt", text.train_text_encoder(self.config, pieces, self.work).state_dict())

    def _train_vae(self, vae, name: str) -> None:
        stage, seed = self.config[name], self.config["seeds"][name]
        average = train_vae.train(vae, self.config, stage, seed, self.work, name, self.ranks)
        if self.ranks.is_first:
            print(f"{name}: {train_vae.validate(average, self.config):.2f} dB", flush=True)
            save(self.work / f"{name}.pt", average.state_dict())

    def vae(self) -> None:
        torch.manual_seed(self.config["seeds"]["vae"])
        vae = make_vae(self.config["vae_spec"])
        init_signal_preserving(vae)
        self._train_vae(vae, "vae")

    def widen(self) -> None:
        wide = make_vae(self.wide_spec)
        widen(self.load_vae("vae", is_wide=False), wide, self.config["seeds"]["widen"])
        save(self.work / "widen.pt", wide.state_dict())

    def decoder(self) -> None:
        self._train_vae(self.load_vae("widen", is_wide=True), "decoder")

    def pool(self) -> None:
        pool.run(self.load_vae("vae", is_wide=False), self.config, self.work, self.ranks)

    def statistics(self, latents: torch.Tensor) -> tuple[list[float], list[float]]:
        """Those of the model that training started from, else those of the pool."""
        path = self.work / "statistics.json"
        if not path.exists():
            return pool.statistics(latents)
        return tuple(json.loads(path.read_text()))

    def _train_transformer(self, model, name: str, ranks: Ranks) -> None:
        stage, dit_config = self.config[name], self.config["dit"]
        latents, attributes = pool.load_pool(self.work)
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in self.statistics(latents))
        batches = train_dit.Batches(((latents.float() - mean) / std).half(), attributes,
                                    tokenizer.load_tokenizer(self.work / "spiece.model"), dit_config["batch"],
                                    self.config["shift"], stage["sigmas"], self.config["text_len"],
                                    dit_config["empty_share"], self.config["seeds"][name] + 100 * ranks.rank)
        average = train_dit.train(model, self.load_text_encoder(), batches, stage, self.work, name, ranks,
                                  self.config["log_every"])
        if ranks.is_first:
            save(self.work / f"{name}.pt", average.state_dict())

    def joint(self) -> None:
        torch.manual_seed(self.config["seeds"]["joint"])
        self._train_transformer(dit.make_transformer(self.config["transformer"]), "joint", self.ranks)

    def experts(self) -> None:
        """Rank 0 trains the low-noise expert, rank 1 the high-noise one; they do not talk."""
        for chain in self.config["experts"][self.ranks.rank::self.ranks.size]:
            for name in chain:
                first = f"start_{name}" if self.start_model else "joint"
                model = self.load_transformer(self.config[name].get("from", first))
                self._train_transformer(model, name, Ranks())

    def start(self) -> None:
        """Takes an exported model apart."""
        from safetensors.torch import load_file

        def weights(folder: str, file: str = "diffusion_pytorch_model.safetensors") -> dict:
            return {k: v.float() for k, v in load_file(self.start_model / folder / file).items()}

        (self.work / "spiece.model").write_bytes((self.start_model / "tokenizer/spiece.model").read_bytes())
        encoder = weights("text_encoder", "model.safetensors")
        encoder.setdefault("encoder.embed_tokens.weight", encoder["shared.weight"])
        save(self.work / "text.pt", encoder)
        save(self.work / "vae.pt", weights("vae"))
        save(self.work / "start_high.pt", weights("transformer"))
        save(self.work / "start_low.pt", weights("transformer_2"))
        spec = json.loads((self.start_model / "vae/config.json").read_text())
        (self.work / "statistics.json").write_text(json.dumps([spec["latents_mean"], spec["latents_std"]]))

    def export(self) -> None:
        if self.target is None:
            return
        vae = self.load_vae("decoder", is_wide=True)
        mean, std = self.statistics(pool.load_pool(self.work)[0])
        vae.register_to_config(latents_mean=mean, latents_std=std)
        facts = {"eval": None, "is_continued": self.start_model is not None, "remarks": "",
                 "weak_spots": "Not studied yet."}
        for name in ("eval", "remarks", "weak_spots"):  # written by eval.py --json, and by hand
            path = self.work / f"{name}.json"
            if path.exists():
                facts[name] = json.loads(path.read_text())
        parts = {"tokenizer": self.work / "spiece.model", "text_encoder": self.load_text_encoder(), "vae": vae,
                 "low": self.load_transformer(self.config["experts"][0][-1]),
                 "high": self.load_transformer(self.config["experts"][1][-1])}
        write_model(parts, self.config, facts, self.work, self.target)


def run_ranks(stage: str, size: int, arguments: list[str]) -> None:
    """The stage in `size` single-thread processes; the first failure ends the run."""
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank in range(size):
            environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1",
                                        "RENDEZVOUS_FILE": f"{folder}/ranks"}
            command = [sys.executable, str(HERE / "train.py"), stage, "--as-rank", *arguments]
            processes.append(subprocess.Popen(command, env=environment))
        codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"train: stage {stage} failed with {codes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", help="all, continue, or one stage")
    parser.add_argument("--work", type=Path, required=True, help="folder of states and logs")
    parser.add_argument("--start", type=Path, help="exported model to continue from")
    parser.add_argument("--export", type=Path, help="folder of the exported model")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    sizes = dict(STAGES["all"] + STAGES["continue"])
    stages = STAGES.get(options.stage) or [(options.stage, sizes[options.stage])]
    if options.as_rank or options.smoke:
        torch.set_num_threads(1)
        config = shrink_for_smoke(load_config()) if options.smoke else load_config()
        runner = Stages(config, options.work, Ranks.from_environment(), options.start, options.export)
        for stage, _ in stages:
            getattr(runner, stage)()
        return
    for stage, size in stages:
        done = options.work / f"{stage}.done"
        if not done.exists() or stage == options.stage:
            run_ranks(stage, size, sys.argv[2:])
            done.touch()


if __name__ == "__main__":
    main()

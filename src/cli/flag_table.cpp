#include "cli/flag_table.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

namespace t2v::cli {
namespace {

constexpr auto kSwitch = Arity::kSwitch;
constexpr auto kValue = Arity::kValue;
constexpr unsigned kMedia = kGenerate | kDecode;        // commands that write a video
constexpr unsigned kSamplers = kGenerate | kCalibrate;  // commands that read prompts and sample
constexpr unsigned kMakers = kSamplers | kBench;        // commands that run the whole pipe
constexpr unsigned kRunners = kMedia | kMakers | kEncode;
constexpr unsigned kWeightUsers = kRunners | kPresets | kQuantize | kDoctor;
constexpr unsigned kModelUsers = kWeightUsers | kTokenize;
constexpr unsigned kLineAndRecipe = kPromptLine | kRecipe;

constexpr std::array kCommands{
    Command{kGenerate, "generate", "--prompt TEXT [-o FILE] [flags]", "makes videos from prompts"},
    Command{kDecode, "decode", "LATENTS -o FILE [flags]", "turns saved latents into a video"},
    Command{kInspect, "inspect", "PATH [--json | --command]",
            "tells what a model folder or a video holds"},
    Command{kPresets, "presets", "[-m MODEL] [--json]", "lists the presets with every value"},
    Command{kTokenize, "tokenize", "(-m MODEL | --tokenizer FILE) --prompt TEXT",
            "shows token ids, one JSON line a prompt"},
    Command{kBench, "bench", "[--preset NAME] [--random-weights] [flags]",
            "measures how fast this machine makes videos"},
    Command{kVerify, "verify", "PATH [--write-manifest] [--json]",
            "compares a model's files with its manifest"},
    Command{kQuantize, "quantize", "MODEL -o FOLDER [--report FILE] [flags]",
            "writes an INT8 copy of a model, with the error of every layer"},
    Command{kEncode, "encode", "VIDEO -o LATENTS [flags]",
            "turns a picture or a video into latents, for t2v decode"},
    Command{kDoctor, "doctor", "[-m MODEL] [--json]",
            "tells what this machine is good for, and what stands in the way"},
    Command{kCalibrate, "calibrate-cache", "[-m MODEL] --prompt TEXT [-o FILE]",
            "makes the table that --step-cache mag needs"},
    Command{kCompletion, "completion", "bash | zsh | fish | man",
            "prints a completion script of a shell, or the man page"},
};

constexpr std::array kFlags{
    // What to make.
    Flag{"prompt", 'p', kValue, kSamplers | kTokenize, Group::kMain, "TEXT",
         "what the video shows; repeatable; @FILE reads a file, - standard input", "", kRecipe},
    Flag{"prompts", 0, kValue, kGenerate | kTokenize, Group::kMain, "FILE",
         ".txt: one prompt a line, # comments; .jsonl, .csv: fields named like the flags",
         "prompt-file"},
    Flag{"negative-prompt", 'n', kValue, kSamplers, Group::kMain, "TEXT",
         "what to stay away from; \"\" for none (the model's own)", "", kLineAndRecipe},
    Flag{"output", 'o', kValue, kMedia, Group::kMain, "PATH",
         "FILE.mp4 .mov .mkv .webm .webp .gif .png (folder of frames), or - for standard output;\n"
         "for several videos a folder or a name with {index} {seed} {slug}",
         "save-file"},
    Flag{"seed", 0, kValue, kMakers, Group::kMain, "N",
         "0 to 2^64-1 (random, printed and embedded; of bench: 1)", "base-seed", kLineAndRecipe},
    Flag{"count", 0, kValue, kGenerate, Group::kMain, "N",
         "N videos a prompt, seeds from --seed on (1)", ""},
    Flag{"output", 'o', kValue, kQuantize, Group::kMain, "FOLDER", "where the model goes", ""},
    Flag{"output", 'o', kValue, kEncode, Group::kMain, "FILE", "where the latents go", ""},
    Flag{"output", 'o', kValue, kCalibrate, Group::kMain, "FILE",
         "where the table goes (t2v-step-cache.json in the model's folder)", ""},
    Flag{"report", 0, kValue, kQuantize, Group::kMain, "FILE",
         "the error of every layer as JSON (the worst ten on stderr)", ""},
    Flag{"preset", 0, kValue, kSamplers, Group::kMain, "NAME", "see t2v presets (official)", "",
         kLineAndRecipe},
    Flag{
        "preset", 0, kValue, kBench, Group::kMain, "NAME",
        "tiny, 1.3b-480p, a14b-480p, a14b-720p or mlperf: size, frames and steps (the model's own)",
        ""},
    Flag{"random-weights", 0, kSwitch, kBench, Group::kMain, "",
         "a model of the preset's shape with random weights instead of --model; needs no files",
         ""},
    Flag{"repeats", 0, kValue, kBench, Group::kMain, "N", "videos that are measured (3)", ""},
    Flag{"warmup", 0, kValue, kBench, Group::kMain, "N", "videos before these (1)", ""},
    Flag{"compare", 0, kValue, kBench, Group::kMain, "FILE",
         "shows the ratios to an earlier run's --json FILE", ""},
    Flag{"config", 0, kValue, kRunners | kTokenize | kPresets, Group::kMain, "FILE",
         "flags from a file, lines of flag = value; the command line wins", ""},
    // Model files.
    Flag{"model", 'm', kValue, kModelUsers, Group::kModel, "PATH",
         "model folder or file, s3:// or http(s)://; also T2V_MODEL (the model shipped with t2v)",
         "ckpt-dir model-path", kRecipe},
    Flag{"transformer", 0, kValue, kWeightUsers | kInspect, Group::kModel, "PATH",
         "instead of the model's own; of two experts: the high-noise one", "transformer-path",
         kRecipe},
    Flag{"transformer-low", 0, kValue, kWeightUsers | kInspect, Group::kModel, "PATH",
         "the low-noise expert, instead of the model's own", "transformer-low-path", kRecipe},
    Flag{"text-encoder", 0, kValue, kWeightUsers | kInspect, Group::kModel, "PATH",
         "umT5, instead of the model's own", "text-encoder-path t5-path t5xxl", kRecipe},
    Flag{"vae", 0, kValue, kWeightUsers | kInspect, Group::kModel, "PATH",
         "instead of the model's own", "vae-path", kRecipe},
    Flag{"tokenizer", 0, kValue, kModelUsers | kInspect, Group::kModel, "FILE",
         "SentencePiece model, instead of the model's own", "tokenizer-path", kRecipe},
    Flag{"lora", 0, kValue, kSamplers | kQuantize, Group::kModel, "FILE[@high|low][:W]",
         "adds a LoRA with weight W (1) to one expert or to both; repeatable;\n"
         "without @: by high_noise or low_noise in its path, else both",
         ""},
    Flag{"lora-high", 0, kValue, kSamplers | kQuantize, Group::kModel, "FILE[:W]",
         "--lora of the high-noise expert; repeatable", ""},
    Flag{"lora-low", 0, kValue, kSamplers | kQuantize, Group::kModel, "FILE[:W]",
         "--lora of the low-noise expert; repeatable", ""},
    Flag{"lora-lenient", 0, kSwitch, kSamplers | kQuantize, Group::kModel, "",
         "LoRA tensors that do not fit the model are warnings", ""},
    Flag{"ignore-extra", 0, kSwitch, kWeightUsers | kInspect, Group::kModel, "",
         "tensors that the model does not know are no error", ""},
    Flag{"cache-dir", 0, kValue, kModelUsers | kInspect, Group::kModel, "DIR",
         "keeps what was read of remote models; also T2V_CACHE (the user's cache folder)", ""},
    Flag{"cache-limit", 0, kValue, kModelUsers | kInspect, Group::kModel, "SIZE",
         "of --cache-dir (200GiB)", ""},
    Flag{"write-manifest", 0, kSwitch, kVerify, Group::kModel, "",
         "write t2v-manifest.json into the folder: sizes and SHA-256 of its files", ""},
    Flag{"remote-timeout", 0, kValue, kModelUsers | kInspect | kVerify, Group::kModel, "S",
         "seconds for one read of a remote model; also T2V_REMOTE_TIMEOUT (30)", ""},
    // Picture and time.
    Flag{"size", 's', kValue, kMakers, Group::kPicture, "WxH", "also 1280*720, 480p, 720p", "",
         kLineAndRecipe},
    Flag{"width", 'W', kValue, kMakers, Group::kPicture, "PX", "", "", kLineAndRecipe},
    Flag{"height", 'H', kValue, kMakers, Group::kPicture, "PX", "", "", kLineAndRecipe},
    Flag{"frames", 'f', kValue, kMakers, Group::kPicture, "N", "4n+1",
         "frame-num num-frames video-frames", kLineAndRecipe},
    Flag{"frames", 'f', kValue, kEncode, Group::kPicture, "N", "the first N alone (all)", ""},
    Flag{"seconds", 0, kValue, kGenerate, Group::kPicture, "S", "instead of --frames", "",
         kPromptLine},
    Flag{"fps", 0, kValue, kMedia, Group::kPicture, "F", "frames per second (the model's own)", "",
         kLineAndRecipe},
    Flag{"preview", 0, kValue, kGenerate, Group::kReports, "FILE",
         "a small picture of the video after each step (.png, .jpg)", ""},
    Flag{"trace", 0, kValue, kGenerate | kDecode, Group::kReports, "FILE",
         "spans of everything, for Perfetto or chrome://tracing", ""},
    Flag{"metrics-file", 0, kValue, kGenerate, Group::kReports, "FILE",
         "Prometheus text for a node exporter, written as videos end", ""},
    Flag{"preview", 0, kSwitch, kDecode, Group::kPicture, "",
         "a quick look without a VAE or any model: a linear map of the channels to colours", ""},
    // Sampling.
    Flag{"steps", 0, kValue, kMakers, Group::kSampling, "N", "", "sample-steps num-inference-steps",
         kLineAndRecipe},
    Flag{"solver", 0, kValue, kMakers, Group::kSampling, "NAME",
         "unipc, euler, dpm++ or renoise (unipc)", "sample-solver sampling-method", kLineAndRecipe},
    Flag{"shift", 0, kValue, kMakers, Group::kSampling, "S", "schedule warp",
         "sample-shift flow-shift", kLineAndRecipe},
    Flag{"sigma-table", 0, kValue, kMakers, Group::kSampling, "NAME", "wan or diffusers (wan)", "",
         kLineAndRecipe},
    Flag{"guidance-scale", 0, kValue, kMakers, Group::kSampling, "G", "both experts",
         "cfg cfg-scale sample-guide-scale", kLineAndRecipe},
    Flag{"guidance-scale-high", 0, kValue, kMakers, Group::kSampling, "G", "the high-noise expert",
         "cfg-high", kLineAndRecipe},
    Flag{"guidance-scale-low", 0, kValue, kMakers, Group::kSampling, "G", "the low-noise expert",
         "cfg-low", kLineAndRecipe},
    Flag{"boundary", 0, kValue, kMakers, Group::kSampling, "B", "where the experts switch, 0 to 1",
         "boundary-ratio moe-boundary", kLineAndRecipe},
    Flag{"latents", 0, kValue, kGenerate, Group::kSampling, "FILE",
         "initial noise: safetensors, tensor 'latents'", "", kLineAndRecipe},
    Flag{"t-list", 0, kValue, kMakers, Group::kSampling, "A,B,C",
         "explicit timesteps of a distilled model, 1000 to 0", "", kLineAndRecipe},
    Flag{"step-cache", 0, kValue, kMakers, Group::kSampling, "MODE",
         "skip predictable steps: off, easy[:THRESHOLD] or mag[:FILE] (off)", "", kLineAndRecipe},
    Flag{"image", 'i', kValue, kSamplers, Group::kSampling, "FILE",
         "image-to-video: the first frame", "init-img", kLineAndRecipe},
    Flag{"last-image", 0, kValue, kSamplers, Group::kSampling, "FILE",
         "image-to-video: the last frame", "end-img", kLineAndRecipe},
    // Causal checkpoints: a video of any length, chunk after chunk.
    Flag{"causal", 0, kValue, kGenerate, Group::kCausal, "PROFILE",
         "generates chunk after chunk with weights that were trained so: self-forcing,\n"
         "causal-forcing-chunk, causal-forcing-frame, longlive-1 or a profile's file",
         "", kLineAndRecipe},
    Flag{"prompt-at", 0, kValue, kGenerate, Group::kCausal, "TIME:TEXT",
         "another prompt from this second on (5s:TEXT); repeatable", "", kRecipe},
    Flag{"prompt-change", 0, kValue, kGenerate, Group::kCausal, "MODE",
         "what a new prompt does to the past: reset-cross, recache or flush (the profile's)", "",
         kLineAndRecipe},
    Flag{"sink-rope", 0, kValue, kGenerate, Group::kCausal, "MODE",
         "positions of the first frames that stay: absolute or relative (the profile's)", "",
         kLineAndRecipe},
    Flag{"kv", 0, kValue, kGenerate, Group::kCausal, "MODE",
         "keys and values of past frames: auto or int8 (auto: 16-bit where it fits)", ""},
    Flag{"force-causal", 0, kSwitch, kGenerate, Group::kCausal, "",
         "--causal although nothing says that the weights were trained so", ""},
    // Many videos, unattended.
    Flag{"results", 0, kValue, kGenerate, Group::kBatch, "FILE",
         "one line of JSON a video as it ends (results.jsonl beside the videos of a batch)", ""},
    Flag{"resume", 0, kSwitch, kGenerate, Group::kBatch, "",
         "leave out videos that are done, go on with those that were interrupted", ""},
    Flag{"checkpoint-every", 0, kValue, kGenerate, Group::kBatch, "MIN",
         "save the state of a video for --resume so often (only when interrupted)", ""},
    Flag{"retries", 0, kValue, kGenerate, Group::kBatch, "N", "of a video that failed (0)", ""},
    Flag{"timeout", 0, kValue, kGenerate, Group::kBatch, "S", "seconds for one video (none)", ""},
    Flag{"fail-fast", 0, kSwitch, kGenerate, Group::kBatch, "", "stop at the first failure", ""},
    Flag{"shard", 0, kValue, kGenerate, Group::kBatch, "I/N",
         "only every N-th video, from the I-th (0 to N-1) on; auto: from SLURM_ARRAY_TASK_ID,\n"
         "JOB_COMPLETION_INDEX or RANK",
         ""},
    Flag{"block-list", 0, kValue, kGenerate, Group::kBatch, "FILE",
         "refuse prompts with these words, or /regular expressions/, one a line", ""},
    // The video file.
    Flag{"watermark", 0, kValue, kMedia, Group::kVideo, "TEXT|PNG", "a visible mark in a corner",
         "", kRecipe},
    Flag{"c2pa-cert", 0, kValue, kMedia, Group::kVideo, "FILE",
         "sign the video (C2PA): certificate chain, PEM", ""},
    Flag{"c2pa-key", 0, kValue, kMedia, Group::kVideo, "FILE", "private key of --c2pa-cert, PEM",
         ""},
    Flag{"codec", 0, kValue, kMedia, Group::kVideo, "NAME", "libavcodec's name (libx264)", "",
         kRecipe},
    Flag{"crf", 0, kValue, kMedia, Group::kVideo, "N", "quality, lower is better (18)", "",
         kRecipe},
    Flag{"pix-fmt", 0, kValue, kMedia, Group::kVideo, "NAME", "pixel format (yuv420p)", "",
         kRecipe},
    Flag{"encoder-preset", 0, kValue, kMedia, Group::kVideo, "NAME", "the encoder's own preset", "",
         kRecipe},
    Flag{"no-metadata", 0, kSwitch, kMedia, Group::kVideo, "", "do not embed the recipe", ""},
    // How to run.
    Flag{"device", 0, kValue, kRunners, Group::kRunning, "NAME", "auto, cpu or cuda[:N] (auto)",
         ""},
    Flag{"dtype", 0, kValue, kRunners, Group::kRunning, "NAME", "auto, fp32, bf16 or fp16 (auto)",
         "", kRecipe},
    Flag{"backend", 0, kValue, kRunners, Group::kRunning, "NAME",
         "fused or reference; also T2V_BACKEND (fused)", ""},
    Flag{"threads", 0, kValue, kRunners | kQuantize, Group::kRunning, "N", "CPU threads (all)", ""},
    Flag{"ram-budget", 0, kValue, kRunners | kInspect, Group::kRunning, "SIZE",
         "memory of the process: 12GiB, 500MiB (what is free, less a reserve)", ""},
    Flag{"vram-budget", 0, kValue, kRunners | kInspect, Group::kRunning, "SIZE",
         "memory of the GPU (what is free, less a reserve)", "max-vram"},
    Flag{"offload", 0, kValue, kRunners, Group::kRunning, "MODE",
         "auto; none: weights stay; model: each part only while it runs;\n"
         "block: the transformer's blocks come again in each step (auto)",
         "offload-model"},
    Flag{"text-encoder-device", 0, kValue, kRunners, Group::kRunning, "NAME",
         "auto, cpu or cuda (auto)", ""},
    Flag{"t5-cpu", 0, kSwitch, kRunners, Group::kRunning, "", "--text-encoder-device cpu", ""},
    Flag{"io", 0, kValue, kModelUsers | kInspect | kVerify, Group::kRunning, "NAME",
         "how weights are read: pread or uring; also T2V_IO (pread)", ""},
    Flag{"dry-run", 0, kSwitch, kGenerate, Group::kRunning, "",
         "resolve, check, plan and print; load no weights", ""},
    Flag{"condition-cache", 0, kValue, kMakers, Group::kRunning, "MODE",
         "keeps what belongs to a prompt for later videos: on or off (on)", ""},
    Flag{"attention", 0, kValue, kMakers, Group::kRunning, "NAME",
         "self-attention by auto, cudnn, flash, own, own-int8 or reference (auto)", "", kRecipe},
    Flag{"quant", 0, kValue, kMakers | kQuantize, Group::kRunning, "MODE",
         "linear layers in none, int8, int8-wo (weights only) or fp8\n"
         "(auto: int8 where t2v quantize has made the files, else none)",
         "", kRecipe},
    Flag{"int8-rotate", 0, kValue, kMakers | kQuantize, Group::kRunning, "N",
         "spreads outliers over groups of 256 or 64 columns; 0: not (256)", "", kRecipe},
    Flag{"quant-preset", 0, kValue, kMakers | kQuantize, Group::kRunning, "NAME",
         "fast, or quality: the first and last blocks, and attention in the first and\n"
         "last steps, stay 16-bit (fast)",
         "", kRecipe},
    Flag{"vae-tiling", 0, kValue, kRunners, Group::kRunning, "MODE",
         "decode the picture in tiles: on, off, or auto: when memory is short (auto)", ""},
    // Reports.
    Flag{"progress", 0, kValue, kRunners | kQuantize, Group::kReports, "MODE",
         "auto, bar, plain, json or none (auto)", ""},
    Flag{"profile", 0, Arity::kOptionalValue, kMedia, Group::kReports, "FILE",
         "times as JSON; as a table on stderr without FILE", ""},
    Flag{"save-latents", 0, kValue, kGenerate, Group::kReports, "FILE",
         "final latents and recipe, for t2v decode", ""},
    Flag{"dump", 0, kValue, kGenerate, Group::kReports, "FILE",
         "every intermediate tensor, for parity checks", ""},
    Flag{"json", 0, kSwitch, kInspect | kPresets | kVerify | kQuantize | kDoctor, Group::kReports,
         "", "print JSON", ""},
    Flag{"json", 0, Arity::kOptionalValue, kBench, Group::kReports, "FILE",
         "the result as JSON; on standard output instead of the table without FILE", ""},
    Flag{"command", 0, kSwitch, kInspect, Group::kReports, "",
         "print the command that makes this video again", ""},
    Flag{"verbose", 'v', kSwitch, kAllCommands, Group::kReports, "", "tell more; twice: even more",
         ""},
    Flag{"quiet", 'q', kSwitch, kAllCommands, Group::kReports, "", "errors only", ""},
    Flag{"help", 'h', kSwitch, kAllCommands, Group::kReports, "", "this text", ""},
    Flag{"version", 0, kSwitch, kAllCommands, Group::kReports, "", "the version of t2v", ""},
};

// Edits (insert, delete, replace, swap of neighbours) between two names.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

// Keeps the best of the candidates offered to it.
class Nearest {
 public:
  explicit Nearest(std::string_view wanted) : wanted_(wanted) {}
  void offer(std::string_view candidate) {
    if (wanted_.size() > kMaxNameBytes) return;
    size_t distance = edit_distance(wanted_, candidate);
    if (wanted_.size() >= 3 && candidate.starts_with(wanted_)) distance = 1;
    const size_t allowed = std::max<size_t>(1, wanted_.size() / 3);
    if (distance > allowed || distance >= distance_) return;
    distance_ = distance;
    best_ = candidate;
  }
  [[nodiscard]] std::string best() const { return std::string(best_); }

 private:
  static constexpr size_t kMaxNameBytes = 64;  // longer ones are no typing errors
  std::string_view wanted_;
  std::string_view best_;
  size_t distance_ = std::numeric_limits<size_t>::max();
};

}  // namespace

std::span<const Command> commands() { return kCommands; }
std::span<const Flag> flags() { return kFlags; }

const Command* find_command(std::string_view name) {
  const auto found = std::find_if(kCommands.begin(), kCommands.end(),
                                  [&](const Command& command) { return command.name == name; });
  return found == kCommands.end() ? nullptr : &*found;
}

std::string canonical_name(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

const Flag* find_flag(std::string_view name, unsigned command_bits) {
  const std::string wanted = canonical_name(name);
  const Flag* first = nullptr;
  for (const Flag& flag : kFlags) {
    bool match = flag.name == wanted;
    for_each_name(flag.aliases, [&](std::string_view alias) { match = match || alias == wanted; });
    if (match && (flag.commands & command_bits) != 0) return &flag;
    if (match && !first) first = &flag;
  }
  return first;
}

const Flag* find_flag(char letter) {
  const auto found = std::find_if(kFlags.begin(), kFlags.end(), [&](const Flag& flag) {
    return letter != 0 && flag.letter == letter;
  });
  return found == kFlags.end() ? nullptr : &*found;
}

std::string nearest_flag(std::string_view name, unsigned command_bits) {
  const std::string wanted = canonical_name(name);
  Nearest nearest(wanted);
  for (const Flag& flag : kFlags) {
    if ((flag.commands & command_bits) == 0) continue;
    nearest.offer(flag.name);
    for_each_name(flag.aliases, [&](std::string_view alias) { nearest.offer(alias); });
  }
  return nearest.best();
}

std::string nearest_command(std::string_view name) {
  Nearest nearest(name);
  for (const Command& command : kCommands) nearest.offer(command.name);
  return nearest.best();
}

}  // namespace t2v::cli

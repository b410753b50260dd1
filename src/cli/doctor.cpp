// t2v doctor: what this machine offers and what stands in the way, each with what to do.
#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/disk_speed.h"
#include "cli/doctor_checks.h"
#include "cli/doctor_tiers.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/streams.h"
#include "core/check.h"
#include "core/escape.h"
#include "media/media.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

constexpr size_t kShownEncoders = 6;
constexpr double kSlowDiskGbPerS = 0.5;  // the largest expert would come in a minute

struct Diagnosis {
  std::vector<Finding> findings;
  std::optional<MachineFacts> machine;  // absent: the engine does not start
  std::vector<Tier> tiers;
  std::vector<std::string> encoders;
  ReadSpeed speed;

  [[nodiscard]] bool is_fit() const {
    for (const Finding& finding : findings)
      if (finding.level == FindingLevel::kFail) return false;
    return true;
  }
  void add(std::vector<Finding> more) {
    for (Finding& finding : more) findings.push_back(std::move(finding));
  }
};

std::string fixed(double value, int digits) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

void look_at_engine(const EngineOptions& options, Diagnosis& d) {
  try {
    d.machine = examine(options);
  } catch (const Error& error) {
    d.add({{"engine", FindingLevel::kFail, str("does not start: ", error.what()),
            "install t2v again, on a file system that runs programs (not noexec)"}});
    return;
  }
  const MachineFacts& m = *d.machine;
  std::string kernels;
  for (const auto& [operation, kernel] : m.kernels)
    kernels += str(kernels.empty() ? "" : "; ", operation, ": ", kernel);
  d.add({{"engine", FindingLevel::kOk,
          str("LibTorch ", m.libtorch, ", --device auto is ", m.device, ", ",
              fixed(m.peak_flop_per_s / 1e12, 2), " TFLOP/s in a large matrix product"),
          ""},
         {"kernels", FindingLevel::kOk, kernels, ""}});
}

void look_at_encoders(Diagnosis& d) {
  try {
    for (const media::EncoderName& encoder : media::open_media().encoders())
      d.encoders.push_back(encoder.name);
  } catch (const Error& error) {
    d.add({{"encoders", FindingLevel::kFail, error.what(), "install t2v again"}});
    return;
  }
  std::string names;
  for (size_t i = 0; i < std::min(d.encoders.size(), kShownEncoders); ++i)
    names += (names.empty() ? "" : ", ") + d.encoders[i];
  if (d.encoders.size() > kShownEncoders)
    names += str(" and ", d.encoders.size() - kShownEncoders, " more");
  const bool x264 = std::find(d.encoders.begin(), d.encoders.end(), "libx264") != d.encoders.end();
  if (d.encoders.empty()) {
    d.add({{"encoders", FindingLevel::kWarn, "this build has no FFmpeg: .gif and .png only",
            "install libavcodec and build t2v with it"}});
  } else if (!x264) {
    d.add({{"encoders", FindingLevel::kWarn,
            "libavcodec has no libx264, which .mp4 takes; it has " + names,
            "name one of these with --codec"}});
  } else {
    d.add({{"encoders", FindingLevel::kOk, names, ""}});
  }
}

bool is_on_disk(const std::string& model) {
  return !model.empty() && !is_remote(model) && !model.starts_with("random:");
}

void look_at_model(const EngineOptions& options, Diagnosis& d) {
  if (options.model_path.empty()) {
    d.add({{"model", FindingLevel::kWarn, "no model lies beside the program", "give -m FOLDER"}});
    return;
  }
  try {
    const auto engine = load_engine(options);
    Request request;
    request.prompt = "a";
    request.seed = 0;
    static_cast<void>(engine->resolve(request));
    d.add({{"model", FindingLevel::kOk,
            str("opens, and its default video fits (", options.model_path, ")"), ""}});
  } catch (const Error& error) {
    d.add({{"model", FindingLevel::kFail, error.what(),
            error.kind() == ErrorKind::kOutOfMemory
                ? "a smaller --size or fewer --frames, --quant int8"
                : "t2v inspect and t2v verify tell more"}});
  }
  if (!is_on_disk(options.model_path)) return;
  d.speed = measure_read_speed(options.model_path);
  if (d.speed.file.empty()) return;
  const std::string text =
      str(fixed(d.speed.gb_per_s(), 2), " GB/s, ",
          d.speed.past_cache ? "past the system's memory" : "maybe from memory", " (",
          bytes_text(d.speed.bytes), " of ", d.speed.file, ")");
  const bool slow = d.speed.bytes >= 64'000'000 && d.speed.gb_per_s() < kSlowDiskGbPerS;
  d.add({{"disk", slow ? FindingLevel::kWarn : FindingLevel::kOk, "reads " + text,
          slow ? "keep large models on an SSD of this machine" : ""}});
}

std::string tier_line(const Tier& tier) {
  std::string text = tier.preset;
  text.resize(10, ' ');
  text += tier_verdict(tier);
  text.resize(20, ' ');
  text += tier.model + ": ";
  if (!tier.problem.empty()) return text + tier.problem;
  text += str(tier.width, "x", tier.height, ", ", tier.frames, " frames, ", tier.steps, " steps",
              tier.quant == "int8" ? ", --quant int8" : "");
  if (tier.minutes > 0) text += ", about " + duration_text(tier.minutes * 60);
  return text;
}

std::string text_of(const Diagnosis& d) {
  std::string text = str("t2v ", kVersion, "\n");
  for (const Finding& finding : d.findings) {
    std::string line = finding_level_name(finding.level);
    line.resize(6, ' ');
    text += core::escape_control(str(line, finding.area, ": ", finding.text), 1000) + "\n";
    if (!finding.advice.empty())
      text += "      try " + core::escape_control(finding.advice, 1000) + "\n";
  }
  if (!d.tiers.empty()) text += "\ngood for (times are estimates of the steps alone):\n";
  for (const Tier& tier : d.tiers) text += core::escape_control(tier_line(tier), 1000) + "\n";
  return text;
}

Json machine_json(const MachineFacts& m) {
  Json kernels = Json::object();
  for (const auto& [operation, kernel] : m.kernels) kernels[operation] = kernel;
  Json gpus = Json::array();
  for (const MachineGpu& gpu : m.gpus)
    gpus.push_back({{"name", gpu.name},
                    {"compute_capability", str(gpu.capability / 10, ".", gpu.capability % 10)},
                    {"total_bytes", gpu.total_bytes},
                    {"free_bytes", gpu.free_bytes},
                    {"mig", gpu.is_mig_slice}});
  return {{"device", m.device},
          {"libtorch", m.libtorch},
          {"cpu", m.cpu_capability},
          {"avx512", m.has_avx512},
          {"bf16", m.has_bf16_products},
          {"amx", m.has_amx},
          {"threads", m.num_threads},
          {"cuda_driver", m.cuda_driver},
          {"gpus", gpus},
          {"kernels", kernels},
          {"host_bytes", m.host_bytes},
          {"peak_flop_per_s", m.peak_flop_per_s}};
}

Json json_of(const Diagnosis& d) {
  Json findings = Json::array();
  for (const Finding& finding : d.findings)
    findings.push_back({{"area", finding.area},
                        {"level", finding_level_name(finding.level)},
                        {"text", finding.text},
                        {"advice", finding.advice}});
  Json tiers = Json::array();
  for (const Tier& tier : d.tiers)
    tiers.push_back({{"preset", tier.preset},
                     {"verdict", tier_verdict(tier)},
                     {"model", tier.model},
                     {"device", tier.device},
                     {"quant", tier.quant},
                     {"width", tier.width},
                     {"height", tier.height},
                     {"frames", tier.frames},
                     {"steps", tier.steps},
                     {"minutes", tier.minutes},
                     {"problem", tier.problem}});
  return {{"t2v", kVersion},
          {"ok", d.is_fit()},
          {"machine", d.machine ? machine_json(*d.machine) : Json(nullptr)},
          {"findings", findings},
          {"tiers", tiers},
          {"encoders", d.encoders},
          {"disk",
           {{"file", d.speed.file},
            {"bytes", d.speed.bytes},
            {"gb_per_s", d.speed.gb_per_s()},
            {"past_cache", d.speed.past_cache}}}};
}

}  // namespace

CommandEnd run_doctor(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  EngineOptions options = read_running_options(flags);
  const bool named = flags.has("model");
  options.model_path = named ? flags.path("model") : shipped_model();
  problems.throw_if_any();
  Diagnosis d;
  look_at_engine(options, d);
  const SystemView view{.root = "",
                        .omp_num_threads = environment("OMP_NUM_THREADS"),
                        .model_path = is_on_disk(options.model_path) ? options.model_path : "",
                        .cache_folder = options.cache_dir};
  if (d.machine) {
    d.add(check_processor(*d.machine, view));
    d.add(check_gpus(*d.machine));
    d.add(check_memory(*d.machine, view));
  }
  d.add(check_folders(view));
  look_at_encoders(d);
  if (d.machine) {
    look_at_model(options, d);
    EngineOptions planned = options;
    if (!named) planned.model_path.clear();
    d.tiers = plan_tiers(planned, *d.machine);
  }
  write_stdout(flags.has("json")
                   ? json_of(d).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
                   : text_of(d));
  return d.is_fit() ? CommandEnd::kDone : CommandEnd::kUnfit;
}

}  // namespace t2v::cli

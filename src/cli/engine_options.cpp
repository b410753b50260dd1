#include "cli/engine_options.h"

#include "cli/lora_option.h"
#include "cli/numbers.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr int64_t kMaxThreads = 4096;
constexpr int64_t kCacheLimitBytes = int64_t{200} << 30;  // both experts of the 14B model, twice

void read_device(const Flags& flags, EngineOptions& options) {
  const Setting* setting = flags.find("device");
  if (!setting) return;
  const std::string& value = setting->value;
  if (value == "auto") {
    options.device = Device::kAuto;
  } else if (value == "cpu") {
    options.device = Device::kCpu;
  } else if (value == "cuda") {
    options.device = Device::kCuda;
  } else {
    const auto index =
        value.starts_with("cuda:") ? parse_uint64(std::string_view(value).substr(5)) : std::nullopt;
    if (!index || *index > 1023) {
      flags.refuse(*setting, "is not one of auto, cpu, cuda, cuda:N");
      return;
    }
    options.device = Device::kCuda;
    options.device_index = static_cast<int>(*index);
  }
}

// The Wan program's --offload_model takes True or False.
Offload read_offload(const Flags& flags) {
  return flags
      .choice<Offload>("offload", {{"auto", Offload::kAuto},
                                   {"none", Offload::kNone},
                                   {"model", Offload::kModel},
                                   {"block", Offload::kBlock},
                                   {"True", Offload::kModel},
                                   {"False", Offload::kNone}})
      .value_or(Offload::kAuto);
}

TextEncoderDevice read_text_encoder_device(const Flags& flags) {
  const auto given = flags.find_all({"text-encoder-device", "t5-cpu"});
  const auto device =
      flags
          .choice<TextEncoderDevice>("text-encoder-device", {{"auto", TextEncoderDevice::kAuto},
                                                             {"cpu", TextEncoderDevice::kCpu},
                                                             {"cuda", TextEncoderDevice::kCuda}})
          .value_or(TextEncoderDevice::kAuto);
  bool t5_cpu = false;
  bool named = false;
  for (const Setting& setting : given) {
    (setting.flag->name == "t5-cpu" ? t5_cpu : named) = true;
  }
  if (t5_cpu && named && device != TextEncoderDevice::kCpu) {
    flags.problems().add(str("--t5-cpu: given together with --text-encoder-device (",
                             given.front().where, "); try only one of the two"));
  }
  return t5_cpu ? TextEncoderDevice::kCpu : device;
}

void read_quant(const Flags& flags, EngineOptions& options) {
  options.quant = flags
                      .choice<Quant>("quant", {{"auto", Quant::kAuto},
                                               {"none", Quant::kNone},
                                               {"int8", Quant::kInt8},
                                               {"int8-wo", Quant::kInt8Weights},
                                               {"fp8", Quant::kFp8}})
                      .value_or(Quant::kAuto);
  options.int8_rotation =
      flags.choice<int64_t>("int8-rotate", {{"0", 0}, {"64", 64}, {"256", 256}}).value_or(256);
  options.quant_preset =
      flags
          .choice<QuantPreset>("quant-preset",
                               {{"fast", QuantPreset::kFast}, {"quality", QuantPreset::kQuality}})
          .value_or(QuantPreset::kFast);
}

std::vector<LoraOption> read_loras(const Flags& flags) {
  std::vector<LoraOption> loras;
  for (const Setting& setting : flags.find_all({"lora", "lora-high", "lora-low"})) {
    const std::string_view name = setting.flag->name;
    const std::string expert = name == "lora-high" ? "high" : name == "lora-low" ? "low" : "";
    std::string why;
    if (const auto lora = parse_lora(setting.value, expert, why)) {
      loras.push_back(*lora);
    } else {
      flags.refuse(setting, why);
    }
  }
  return loras;
}

}  // namespace

EngineOptions read_running_options(const Flags& flags) {
  EngineOptions options;
  options.components = {.transformer = flags.path("transformer"),
                        .transformer_low = flags.path("transformer-low"),
                        .text_encoder = flags.path("text-encoder"),
                        .vae = flags.path("vae"),
                        .tokenizer = flags.path("tokenizer")};
  options.loras = read_loras(flags);
  options.lora_lenient = flags.has("lora-lenient");
  options.ignore_extra = flags.has("ignore-extra");
  read_device(flags, options);
  options.dtype = flags
                      .choice<Dtype>("dtype", {{"auto", Dtype::kAuto},
                                               {"fp32", Dtype::kFp32},
                                               {"bf16", Dtype::kBf16},
                                               {"fp16", Dtype::kFp16}})
                      .value_or(Dtype::kAuto);
  options.backend = flags
                        .choice<Backend>("backend", {{"fused", Backend::kFused},
                                                     {"reference", Backend::kReference}})
                        .value_or(Backend::kFused);
  options.attention = flags
                          .choice<std::string>("attention", {{"auto", "auto"},
                                                             {"cudnn", "cudnn"},
                                                             {"flash", "flash"},
                                                             {"own", "own"},
                                                             {"own-int8", "own-int8"},
                                                             {"reference", "reference"}})
                          .value_or("auto");
  read_quant(flags, options);
  options.kv = flags.choice<KvCache>("kv", {{"auto", KvCache::kAuto}, {"int8", KvCache::kInt8}})
                   .value_or(KvCache::kAuto);
  options.force_causal = flags.has("force-causal");
  options.profile = flags.has("profile");
  options.trace = flags.has("trace");
  options.condition_cache =
      flags.choice<bool>("condition-cache", {{"on", true}, {"off", false}}).value_or(true);
  options.num_threads = static_cast<int>(flags.integer("threads", 1, kMaxThreads).value_or(0));
  options.text_encoder_device = read_text_encoder_device(flags);
  options.offload = read_offload(flags);
  options.vae_tiling = flags
                           .choice<VaeTiling>("vae-tiling", {{"auto", VaeTiling::kAuto},
                                                             {"on", VaeTiling::kOn},
                                                             {"off", VaeTiling::kOff}})
                           .value_or(VaeTiling::kAuto);
  options.ram_budget_bytes = flags.bytes("ram-budget").value_or(0);
  options.vram_budget_bytes = flags.bytes("vram-budget").value_or(0);
  options.cache_dir = flags.has("cache-dir") ? flags.path("cache-dir") : user_cache_folder();
  options.cache_limit_bytes = flags.bytes("cache-limit").value_or(kCacheLimitBytes);
  options.remote_timeout_seconds =
      flags.real("remote-timeout", {.low = 0, .high = 86400, .low_open = true})
          .value_or(options.remote_timeout_seconds);
  options.io =
      flags.choice<std::string>("io", {{"pread", "pread"}, {"uring", "uring"}}).value_or("");
  return options;
}

EngineOptions read_engine_options(const Flags& flags, ModelNeed need) {
  EngineOptions options = read_running_options(flags);
  options.model_path = flags.path("model");
  if (flags.has("model")) return options;
  if (need == ModelNeed::kModelOrTokenizer && flags.has("tokenizer")) return options;
  options.model_path = shipped_model();
  if (options.model_path.empty()) {
    flags.problems().add(
        "--model: no model was given and none lies beside the program (command line); try "
        "--model FOLDER");
  }
  return options;
}

}  // namespace t2v::cli

#include "pipeline/random_model.h"

#include "core/check.h"
#include "models/umt5/encoder.h"
#include "models/wan/transformer.h"
#include "weights/random_folder.h"

namespace t2v::pipeline {
namespace {

models::TransformerSpec wan(int64_t heads, int64_t ffn_size, int64_t num_blocks,
                            int64_t text_size) {
  return {.in_channels = 16,
          .out_channels = 16,
          .num_heads = heads,
          .head_size = 128,
          .ffn_size = ffn_size,
          .num_blocks = num_blocks,
          .text_size = text_size,
          .freq_size = 256};
}

// The vocabulary is that of the tokenizer that comes with the program.
models::TextEncoderSpec umt5(int64_t size, int64_t heads, int64_t ffn_size, int64_t num_blocks) {
  return {.vocab_size = 256384,
          .size = size,
          .num_heads = heads,
          .head_size = 64,
          .ffn_size = ffn_size,
          .num_blocks = num_blocks,
          .num_buckets = 32};
}

models::vae::VaeSpec vae(int64_t base_dim) {
  models::vae::VaeSpec spec;
  spec.z_dim = 16;
  spec.out_channels = 3;
  spec.decoder_base_dim = base_dim;
  spec.num_res_blocks = 2;
  spec.dim_mult = {1, 2, 4, 4};
  spec.upsample_time = {true, true, false};
  return spec;
}

std::vector<weights::RandomFile> files_of(const RandomModelSpec& spec) {
  const auto transformer = models::wan::Transformer::expectations(spec.transformer).tensors;
  std::vector<weights::RandomFile> files;
  files.push_back({spec.two_experts ? "high_noise.safetensors" : "transformer.safetensors",
                   transformer, c10::kBFloat16});
  if (spec.two_experts) files.push_back({"low_noise.safetensors", transformer, c10::kBFloat16});
  files.push_back({"text_encoder.safetensors",
                   models::umt5::Encoder::expectations(spec.text_encoder).tensors, c10::kBFloat16});
  files.push_back({"vae.safetensors", models::vae::decoder_tensors(spec.vae).tensors, c10::kFloat});
  return files;
}

}  // namespace

std::vector<std::string> random_model_names() { return {"tiny", "1.3b", "14b", "a14b"}; }

RandomModelSpec random_model_spec(const std::string& name) {
  const auto xxl = [] { return umt5(4096, 64, 10240, 24); };
  if (name == "tiny") return {wan(1, 256, 2, 64), umt5(64, 1, 128, 2), vae(8), true};
  if (name == "1.3b") return {wan(12, 8960, 30, 4096), xxl(), vae(96), false};
  if (name == "14b") return {wan(40, 13824, 40, 4096), xxl(), vae(96), false};
  if (name == "a14b") return {wan(40, 13824, 40, 4096), xxl(), vae(96), true};
  throw Error(ErrorKind::kUsage,
              core::str("no random model '", name, "', expected tiny, 1.3b, 14b or a14b"));
}

std::string random_model_path(const std::string& name) { return weights::kRandomScheme + name; }

bool is_random_model(const std::string& path) noexcept {
  return path.starts_with(weights::kRandomScheme);
}

std::shared_ptr<const weights::Storage> open_random_model(
    const std::string& path, std::shared_ptr<const weights::Storage> others) {
  T2V_ASSERT(is_random_model(path));
  const std::string name = path.substr(std::string(weights::kRandomScheme).size());
  return weights::make_random_folder(path, files_of(random_model_spec(name)), std::move(others));
}

}  // namespace t2v::pipeline

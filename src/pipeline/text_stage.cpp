#include "pipeline/text_stage.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/check.h"
#include "models/umt5/encoder.h"
#include "text/prompt_clean.h"

namespace t2v::pipeline {
namespace {

// --dump names are prompt_* and negative_*.
void dump_ids(const std::string& name, const std::vector<int64_t>& ids, const Model& model,
              Run& run) {
  if (!run.dump().wanted()) return;
  at::Tensor padded = at::full({1, model.text_len}, model.tokenizer->pad_id(), at::kLong);
  at::Tensor mask = at::zeros({1, model.text_len}, at::kLong);
  const auto n = static_cast<int64_t>(ids.size());
  padded.narrow(1, 0, n).copy_(at::tensor(ids, at::kLong));
  mask.narrow(1, 0, n).fill_(1);
  run.dump().add(name + "_ids", padded);
  run.dump().add(name + "_mask", mask);
}

void dump_embeddings(const std::string& name, const at::Tensor& rows, const Model& model,
                     Run& run) {
  if (!run.dump().wanted()) return;
  at::Tensor padded = at::zeros({1, model.text_len, rows.size(1)}, at::kFloat);
  padded[0].narrow(0, 0, rows.size(0)).copy_(rows);
  run.dump().add(name + "_text_encoder_raw", padded);
  run.dump().add(name + "_embeds", padded);
}

}  // namespace

TextEmbeddings run_text_stage(const Model& model, const Recipe& recipe, bool with_uncond,
                              const weights::StreamOptions& stream, Run& run) {
  std::vector<std::vector<int64_t>> ids;
  const auto tokenize = [&](const std::string& prompt, const std::string& name) {
    auto encoded = model.tokenizer->encode(text::clean_prompt(prompt), model.text_len);
    if (encoded.truncated)
      run.report().warnings.push_back(core::str("the ", name, " has more than ", model.text_len,
                                                " tokens; the rest was cut off"));
    dump_ids(name, encoded.ids, model, run);
    ids.push_back(std::move(encoded.ids));
  };
  tokenize(recipe.prompt, "prompt");
  if (with_uncond) tokenize(recipe.negative_prompt, "negative");

  const at::Device device = run.compute().text_encoder_device;
  // T5's activations overflow fp16, and the CPU has no fp16 products.
  const at::ScalarType dtype = run.compute().dtype != at::kHalf ? run.compute().dtype
                               : device.is_cpu()                ? at::kFloat
                                                                : at::kBFloat16;
  std::optional<models::umt5::Encoder> encoder;
  int64_t bytes_before = 0;
  run.in_stage(Stage::kLoadTextEncoder, [&] {
    auto map = open_weights(model, "text_encoder");
    bytes_before = map.bytes_read();
    encoder.emplace(model.text_encoder, std::move(map), dtype, device);
  });
  std::vector<at::Tensor> states;
  const auto& weights = encoder->weights();
  run.in_stage(Stage::kTextEncode, [&] {
    states = encoder->encode(ids, stream, [&](int64_t done, int64_t total) {
      run.tell({.stage = Stage::kTextEncode,
                .done = done,
                .total = total,
                .expert = {},
                .bytes_done = weights.bytes_read() - bytes_before,
                .bytes_total = weights.checkpoint().bytes_total()});
      run.check_cancelled();
    });
  });
  const weights::StreamCounts& counts = encoder->counts();
  run.add_bytes_read(Stage::kTextEncode, weights.bytes_read() - bytes_before);
  run.add_read_time(counts.bytes, counts.busy_ns);
  run.report().weights.bytes += weights.bytes_read() - bytes_before;
  run.report().weights.stall_ms += static_cast<double>(counts.stall_ns) * 1e-6;
  for (at::Tensor& state : states) state = state.to(run.compute().device);
  dump_embeddings("prompt", states[0], model, run);
  if (with_uncond) dump_embeddings("negative", states[1], model, run);
  return {states[0], with_uncond ? states[1] : at::Tensor()};
}

}  // namespace t2v::pipeline

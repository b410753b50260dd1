#include "pipeline/text_stage.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <map>

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

// T5's activations overflow fp16, and the CPU has no fp16 products.
at::ScalarType text_dtype(const Compute& compute) {
  if (compute.dtype != at::kHalf) return compute.dtype;
  return compute.text_encoder_device.is_cpu() ? at::kFloat : at::kBFloat16;
}

// The prompts' rows, fp32, where the encoder runs.
std::vector<at::Tensor> encode(const Model& model, const std::vector<std::vector<int64_t>>& ids,
                               const weights::StreamOptions& stream, Run& run) {
  std::optional<models::umt5::Encoder> encoder;
  int64_t bytes_before = 0;
  run.in_stage(Stage::kLoadTextEncoder, [&] {
    auto map = open_weights(model, "text_encoder");
    bytes_before = map.bytes_read();
    encoder.emplace(model.text_encoder, std::move(map), text_dtype(run.compute()),
                    run.compute().text_encoder_device);
  });
  std::vector<at::Tensor> states;
  const auto& weights = encoder->weights();
  run.in_stage(Stage::kTextEncode, [&] {
    core::TraceSpan span("prompt", "encode prompts", -1, core::SpanKind::kCoarse);
    span.set_detail(core::str(ids.size(), " prompts"));
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
  return states;
}

// A report has both stages, also when there was nothing to do.
void pass_over(Run& run) {
  run.in_stage(Stage::kLoadTextEncoder, [] {});
  run.in_stage(Stage::kTextEncode, [] {});
  run.tell(Stage::kTextEncode, 1, 1);
}

}  // namespace

std::vector<TextEmbedding> run_text_stage(const Model& model,
                                          const std::vector<NamedPrompt>& prompts,
                                          ConditionCache& cache,
                                          const weights::StreamOptions& stream, Run& run) {
  const double begin = run.elapsed_ms();
  ConditionUse& use = run.report().conditions;
  std::vector<TextEmbedding> result;
  std::vector<std::vector<int64_t>> missing;
  std::map<std::string, size_t> places;  // of the missing ones in their list, by key
  for (const NamedPrompt& prompt : prompts) {
    auto encoded = model.tokenizer->encode(text::clean_prompt(prompt.text), model.text_len);
    if (!prompt.dump_name.empty()) dump_ids(prompt.dump_name, encoded.ids, model, run);
    result.push_back({at::Tensor(), prompt_key(encoded.ids), encoded.truncated});
    if (const auto known = cache.find_text(result.back().key)) {
      result.back().rows = known->rows;
      ++use.text_hits;
      use.saved_ms += known->make_ms;
      continue;
    }
    const bool is_new = places.try_emplace(result.back().key, missing.size()).second;
    ++(is_new ? use.text_misses : use.text_hits);
    if (is_new) missing.push_back(std::move(encoded.ids));
  }
  if (missing.empty()) {
    pass_over(run);
  } else {
    std::vector<at::Tensor> states = encode(model, missing, stream, run);
    const double each = (run.elapsed_ms() - begin) / static_cast<double>(states.size());
    for (at::Tensor& state : states) state = state.cpu();
    for (const auto& [key, place] : places) cache.keep_text(key, {states[place], each});
    for (TextEmbedding& text : result)
      if (!text.rows.defined()) text.rows = states[places.at(text.key)];
  }
  for (size_t i = 0; i < prompts.size(); ++i)
    if (!prompts[i].dump_name.empty())
      dump_embeddings(prompts[i].dump_name, result[i].rows, model, run);
  return result;
}

void warn_of_cut(const TextEmbedding& text, const std::string& name, int64_t text_len, Run& run) {
  if (!text.truncated) return;
  run.report().warnings.push_back(
      core::str("the ", name, " has more than ", text_len, " tokens; the rest was cut off"));
}

void warn_of_cut(const TextEmbeddings& text, int64_t text_len, Run& run) {
  warn_of_cut(text.cond, "prompt", text_len, run);
  if (text.uncond) warn_of_cut(*text.uncond, "negative prompt", text_len, run);
}

}  // namespace t2v::pipeline

#include "pipeline/inspect.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "pipeline/compute.h"
#include "pipeline/recipe.h"
#include "weights/tensor_table.h"

namespace t2v::pipeline {
namespace {

std::string gigabytes(int64_t bytes) {
  char text[32];
  if (bytes < 1000 * 1000 * 1000) {
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  }
  return text;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += core::str(i ? ", " : "", shape[i]);
  return out + "]";
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

int64_t element_bytes(at::ScalarType dtype) { return dtype == at::kFloat ? 4 : 2; }

// Weights of a component once read, in the compute type.
int64_t resident_bytes(const weights::ComponentTable& table, at::ScalarType dtype) {
  return table.num_parameters * element_bytes(dtype);
}

// Largest moment of a run: one expert with its activations. An estimate for people, not a promise.
int64_t estimate_peak(const Recipe& recipe, const Model& m, const Compute& compute) {
  const Geometry g = make_geometry(recipe.width, recipe.height, recipe.frames, m.geometry_rules());
  int64_t weights_bytes = 0;
  for (const auto& table : weights::tensor_tables(m.folder)) {
    if (table.component == "text_encoder") continue;  // streamed block by block
    weights_bytes = std::max(weights_bytes, resident_bytes(table, compute.dtype));
  }
  const int64_t c = m.transformer.size();
  const int64_t e = element_bytes(compute.dtype);
  const int64_t activations = g.num_tokens * (c * (4 + 7 * e) + m.transformer.ffn_size * e);
  return weights_bytes + activations + 400'000'000;  // the libraries themselves
}

}  // namespace

std::string inspect_to_json(const Model& m) {
  nlohmann::ordered_json json = {
      {"path", m.folder.path},
      {"layout", "diffusers"},
      {"model", m.variant.name},
      {"task", "text-to-video"},
      {"experts", m.two_experts() ? 2 : 1},
      {"text_len", m.text_len},
      {"transformer",
       {{"blocks", m.transformer.num_blocks},
        {"heads", m.transformer.num_heads},
        {"head_size", m.transformer.head_size},
        {"ffn_size", m.transformer.ffn_size},
        {"in_channels", m.transformer.in_channels},
        {"out_channels", m.transformer.out_channels}}},
      {"text_encoder",
       {{"blocks", m.text_encoder.num_blocks},
        {"size", m.text_encoder.size},
        {"vocab_size", m.text_encoder.vocab_size}}},
      {"vae", {{"z_dim", m.vae.z_dim}, {"base_dim", m.vae.decoder_base_dim}}},
  };
  for (const auto& [flag, value] : preset_values("official", m)) json["defaults"][flag] = value;
  int64_t total = 0;
  for (const auto& table : weights::tensor_tables(m.folder)) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const auto& row : table.tensors)
      tensors.push_back({{"name", row.name},
                         {"canonical", row.canonical},
                         {"file", row.file},
                         {"dtype", row.dtype},
                         {"shape", row.shape},
                         {"bytes", row.bytes}});
    json["components"].push_back({{"component", table.component},
                                  {"files", table.files},
                                  {"dtypes", table.dtypes},
                                  {"parameters", table.num_parameters},
                                  {"bytes", table.bytes},
                                  {"tensors", tensors}});
    total += table.bytes;
  }
  json["bytes"] = total;
  return json.dump(2);
}

std::string inspect_to_text(const Model& m) {
  std::string out = core::str(
      "model     ", m.variant.name, "\nlayout    diffusers folder\ntask      text-to-video, ",
      m.two_experts() ? "two experts (high noise, low noise)" : "one transformer", "\nblocks    ",
      m.transformer.num_blocks, " of ", m.transformer.num_heads, " heads x ",
      m.transformer.head_size, ", feed-forward ", m.transformer.ffn_size, "\ndefaults ");
  for (const auto& [flag, value] : preset_values("official", m))
    if (flag != "negative-prompt") out += core::str(" --", flag, " ", value);
  out += "\n\n";
  char line[256];
  const auto tables = weights::tensor_tables(m.folder);
  for (const auto& table : tables) {
    std::snprintf(line, sizeof line, "%-14s %10s  %6.2f G parameters  %4zu tensors  %s\n",
                  table.component.c_str(), gigabytes(table.bytes).c_str(),
                  static_cast<double>(table.num_parameters) / 1e9, table.tensors.size(),
                  join(table.dtypes).c_str());
    out += line;
  }
  for (const auto& table : tables) {
    out += core::str("\n", table.component, "\n");
    for (const auto& row : table.tensors)
      out += core::str("  ", row.name, "  ", row.dtype, " ", shape_text(row.shape), "  ", row.file,
                       "\n");
  }
  return out;
}

ResolvedSettings plan_of(const Recipe& recipe, const Model& m, const Compute& compute) {
  const Geometry g = make_geometry(recipe.width, recipe.height, recipe.frames, m.geometry_rules());
  ResolvedSettings plan = {
      {"model", m.variant.name},
      {"device", describe(compute)},
      {"latents", core::str(g.latent_channels, " x ", g.latent_frames, " x ", g.latent_height,
                            " x ", g.latent_width)},
      {"tokens", core::str(g.num_tokens)},
  };
  for (const auto& table : weights::tensor_tables(m.folder))
    plan.emplace_back("weights of " + table.component, gigabytes(table.bytes));
  plan.emplace_back("host memory, estimated", gigabytes(estimate_peak(recipe, m, compute)));
  plan.emplace_back("host memory, available", gigabytes(available_host_bytes()));
  return plan;
}

void require_memory(const Recipe& recipe, const Model& m, const Compute& compute) {
  if (!compute.device.is_cpu()) return;
  const int64_t needed = estimate_peak(recipe, m, compute);
  const int64_t available = available_host_bytes();
  T2V_REQUIRE(available == 0 || needed <= available, ErrorKind::kOutOfMemory,
              "not enough host memory: this run needs about ", gigabytes(needed), ", free are ",
              gigabytes(available), " (", recipe.width, "x", recipe.height, ", ", recipe.frames,
              " frames); try a smaller --size or fewer --frames");
}

}  // namespace t2v::pipeline

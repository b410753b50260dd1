#include "pipeline/inspect.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "pipeline/compute.h"
#include "pipeline/recipe.h"
#include "pipeline/residency.h"
#include "weights/tensor_table.h"

namespace t2v::pipeline {
namespace {

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

// One table per component with weights.
std::vector<weights::ComponentTable> tables_of(const Model& m) {
  using weights::ModelPart;
  std::vector<weights::ComponentTable> tables;
  const auto add = [&](const char* name, const weights::ComponentFiles& files, ModelPart part) {
    if (files) tables.push_back(weights::tensor_table(name, *files.checkpoint, part));
  };
  add("text_encoder", m.folder.text_encoder, ModelPart::kTextEncoder);
  add("transformer", m.folder.transformer, ModelPart::kTransformer);
  add("transformer_2", m.folder.transformer_2, ModelPart::kTransformer);
  add("vae", m.folder.vae, ModelPart::kVae);
  return tables;
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
  for (const auto& table : tables_of(m)) {
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
  const auto tables = tables_of(m);
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
  for (const auto& table : tables_of(m))
    plan.emplace_back("weights of " + table.component, gigabytes(table.bytes));
  return plan;
}

}  // namespace t2v::pipeline

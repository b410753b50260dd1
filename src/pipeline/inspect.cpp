#include "pipeline/inspect.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/escape.h"
#include "pipeline/compute.h"
#include "pipeline/presets.h"
#include "pipeline/recipe.h"
#include "pipeline/residency.h"
#include "weights/model_scan.h"
#include "weights/tensor_table.h"

namespace t2v::pipeline {
namespace {

using Json = nlohmann::ordered_json;
using weights::ComponentTable;
using weights::FileKind;

// One component, with what its tables do not say.
struct Part {
  ComponentTable table;
  std::string config;  // path; ""
  std::string scheme;  // "BF16", "fp8 scaled + F32"
};

// What is shown: a model, or one file of tensors.
struct Findings {
  std::string path;
  std::optional<Model> model;
  std::string file_kind;  // of one file: "a LoRA"
  std::string note;       // why the file is shown alone; ""
  std::vector<Part> parts;
  std::vector<SizePrediction> sizes;
  std::string machine;
};

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

const char* layout_words(const std::string& layout) {
  if (layout == "diffusers") return "diffusers folder";
  if (layout == "wan") return "original Wan folder";
  return layout == "comfyui" ? "ComfyUI folder" : "single files";
}

std::vector<Part> parts_of(const Model& m) {
  using weights::ModelPart;
  std::vector<Part> parts;
  const auto add = [&](const char* name, const weights::ComponentFiles& files, ModelPart part) {
    if (!files) return;
    parts.push_back({.table = weights::tensor_table(name, *files.checkpoint, part),
                     .config = files.config,
                     .scheme = open_weights(m, name).summary()});
  };
  add("text_encoder", m.folder.text_encoder, ModelPart::kTextEncoder);
  add("transformer", m.folder.transformer, ModelPart::kTransformer);
  add("transformer_2", m.folder.transformer_2, ModelPart::kTransformer);
  add("vae", m.folder.vae, ModelPart::kVae);
  return parts;
}

void look_at_file(const weights::Candidate& file, Findings& found) {
  const weights::ModelPart part = weights::part_of(file.kind);
  Part only{.table = weights::tensor_table("", *file.checkpoint, part), .config = "", .scheme = ""};
  only.scheme = join(only.table.dtypes);
  if (file.kind == FileKind::kTransformer || file.kind == FileKind::kTextEncoder ||
      file.kind == FileKind::kVae)
    only.scheme = weights::WeightMap(file.checkpoint, part, "file").summary();
  found.file_kind = describe(file.kind);
  found.parts.push_back(std::move(only));
}

void look_at_model(Model model, const EngineOptions& options, Findings& found) {
  found.parts = parts_of(model);
  const Compute compute = choose_compute(options);
  found.machine = describe(compute);
  if (model.transformer.image_size == 0)
    found.sizes = predict_sizes(model, options, compute, current_host_bytes());
  found.model = std::move(model);
}

Findings look(const EngineOptions& options) {
  Findings found;
  found.path = options.model_path;
  const auto storage = open_storage(options);
  std::optional<weights::Candidate> file;
  if (storage->look(options.model_path) == weights::PathKind::kFile) {
    file = weights::open_candidate(*storage, options.model_path);
    T2V_REQUIRE(file->problem.empty(), ErrorKind::kModel, file->problem);
    if (file->kind != FileKind::kTransformer) {
      look_at_file(*file, found);
      return found;
    }
  }
  try {
    look_at_model(open_model(options, storage, Purpose::kLook), options, found);
  } catch (const Error& error) {
    if (!file || error.kind() != ErrorKind::kModel) throw;
    found = Findings{.path = options.model_path};
    found.note = error.what();
    look_at_file(*file, found);
  }
  return found;
}

Json memory_json(const SizePrediction& p) {
  const StagePeak gpu = p.on_gpu.highest();
  const StagePeak here = p.here.highest();
  return {{"size", core::str(p.width, "x", p.height)},
          {"frames", p.frames},
          {"gpu", {{"device_bytes", gpu.device_bytes}, {"host_bytes", gpu.host_bytes}}},
          {"cpu", {{"host_bytes", p.on_cpu.highest().host_bytes}}},
          {"here",
           {{"fits", p.fits_here},
            {"device_bytes", here.device_bytes},
            {"host_bytes", here.host_bytes},
            {"ram_budget", p.here.budgets.ram},
            {"vram_budget", p.here.budgets.vram},
            {"smallest_ram_budget", p.here.smallest_ram},
            {"smallest_vram_budget", p.here.smallest_vram},
            {"streamed_bytes_per_step", p.here.streamed_bytes_per_step}}}};
}

Json component_json(const Part& part) {
  Json tensors = Json::array();
  for (const auto& row : part.table.tensors)
    tensors.push_back({{"name", row.name},
                       {"canonical", row.canonical},
                       {"file", row.file},
                       {"dtype", row.dtype},
                       {"shape", row.shape},
                       {"bytes", row.bytes}});
  return {{"component", part.table.component},
          {"path", part.table.path},
          {"config", part.config},
          {"files", part.table.files},
          {"scheme", part.scheme},
          {"dtypes", part.table.dtypes},
          {"parameters", part.table.num_parameters},
          {"bytes", part.table.bytes},
          {"tensors", std::move(tensors)}};
}

void add_model(const Findings& found, Json& json) {
  const Model& m = *found.model;
  json["layout"] = m.folder.layout;
  json["model"] = m.variant.name;
  json["task"] = task_words(m.variant.task);
  json["experts"] = m.two_experts() ? 2 : 1;
  json["text_len"] = m.text_len;
  json["tokenizer"] = m.tokenizer_name;
  json["transformer"] = {
      {"blocks", m.transformer.num_blocks},       {"heads", m.transformer.num_heads},
      {"head_size", m.transformer.head_size},     {"ffn_size", m.transformer.ffn_size},
      {"in_channels", m.transformer.in_channels}, {"out_channels", m.transformer.out_channels}};
  json["text_encoder"] = {{"blocks", m.text_encoder.num_blocks},
                          {"size", m.text_encoder.size},
                          {"vocab_size", m.text_encoder.vocab_size}};
  json["vae"] = {{"version", m.vae.is_residual ? "2.2" : "2.1"},
                 {"z_dim", m.vae.z_dim},
                 {"base_dim", m.vae.decoder_base_dim}};
  for (const auto& [flag, value] : preset_values("official", m)) json["defaults"][flag] = value;
  json["machine"] = found.machine;
  json["memory"] = Json::array();
  for (const SizePrediction& size : found.sizes) json["memory"].push_back(memory_json(size));
}

std::string to_json(const Findings& found) {
  Json json = {{"path", found.path}};
  if (found.model) {
    add_model(found, json);
  } else {
    json["layout"] = "file";
    json["kind"] = found.file_kind;
    if (!found.note.empty()) json["note"] = found.note;
  }
  int64_t total = 0;
  json["components"] = Json::array();
  for (const Part& part : found.parts) {
    json["components"].push_back(component_json(part));
    total += part.table.bytes;
  }
  json["bytes"] = total;
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string model_text(const Model& m) {
  std::string out =
      core::str("model     ", m.variant.name, "\nlayout    ", layout_words(m.folder.layout),
                "\ntask      ", task_words(m.variant.task), ", ",
                m.two_experts() ? "two experts (high noise, low noise)" : "one transformer",
                "\nblocks    ", m.transformer.num_blocks, " of ", m.transformer.num_heads,
                " heads x ", m.transformer.head_size, ", feed-forward ", m.transformer.ffn_size,
                "\ntokenizer ", m.tokenizer_name, "\ndefaults ");
  for (const auto& [flag, value] : preset_values("official", m))
    if (flag != "negative-prompt") out += core::str(" --", flag, " ", value);
  return out + "\n\n";
}

std::string memory_text(const Findings& found) {
  std::string out;
  for (const SizePrediction& p : found.sizes) {
    const StagePeak gpu = p.on_gpu.highest();
    out += core::str(p.width, "x", p.height, ", ", p.frames, " frames: on a GPU ",
                     gigabytes(gpu.device_bytes), " + host ", gigabytes(gpu.host_bytes),
                     "; on the CPU ", gigabytes(p.on_cpu.highest().host_bytes), "\n  here (",
                     found.machine, "): ");
    if (p.fits_here) {
      const StagePeak here = p.here.highest();
      out += core::str(
          "runs, ",
          here.device_bytes > 0 ? gigabytes(here.device_bytes) + " + host " : std::string("host "),
          gigabytes(here.host_bytes));
      if (p.here.streamed_bytes_per_step > 0)
        out += core::str(", reading ", gigabytes(p.here.streamed_bytes_per_step), " a step");
      out += "\n";
    } else {
      out += core::str("does not fit; smallest --ram-budget ", gigabytes(p.here.smallest_ram));
      if (p.here.smallest_vram > 0)
        out += core::str(", --vram-budget ", gigabytes(p.here.smallest_vram));
      out += "\n";
    }
  }
  return out.empty() ? out : out + "\n";
}

std::string to_text(const Findings& found) {
  std::string out;
  if (found.model) {
    out = model_text(*found.model);
  } else {
    out = core::str("file      ", found.file_kind, "\n");
    if (!found.note.empty()) out += core::str("note      ", found.note, "\n");
    out += "\n";
  }
  char line[256];
  for (const Part& part : found.parts) {
    const ComponentTable& table = part.table;
    const bool large = table.num_parameters >= 1'000'000'000;
    std::snprintf(line, sizeof line, "%-14s %10s  %6.2f %s parameters  %4zu tensors  ",
                  table.component.c_str(), gigabytes(table.bytes).c_str(),
                  static_cast<double>(table.num_parameters) / (large ? 1e9 : 1e6),
                  large ? "G" : "M", table.tensors.size());
    out += core::str(line, part.scheme, "\n");
  }
  out += "\n" + memory_text(found);
  for (const Part& part : found.parts) {
    out += core::str(part.table.component, part.table.component.empty() ? "" : "  ",
                     core::escape_control(part.table.path), "\n");
    for (const auto& row : part.table.tensors)
      out += core::str("  ", core::escape_control(row.name), "  ", row.dtype, " ",
                       shape_text(row.shape), "  ", core::escape_control(row.file), "\n");
    out += "\n";
  }
  return out;
}

}  // namespace

ResolvedSettings plan_of(const Recipe& recipe, const Model& m, const Compute& compute) {
  const Geometry g = make_geometry(recipe.width, recipe.height, recipe.frames, m.geometry_rules());
  ResolvedSettings plan = {
      {"model", m.variant.name},
      {"device", describe(compute)},
      {"latents", core::str(g.latent_channels, " x ", g.latent_frames, " x ", g.latent_height,
                            " x ", g.latent_width)},
      {"tokens", core::str(g.num_tokens)},
  };
  for (const Part& part : parts_of(m))
    plan.emplace_back("weights of " + part.table.component,
                      core::str(gigabytes(part.table.bytes), ", ", part.scheme));
  return plan;
}

}  // namespace t2v::pipeline

namespace t2v {

std::string inspect_model(const EngineOptions& options, ReportFormat format) {
  const pipeline::Findings found = pipeline::look(options);
  return format == ReportFormat::kJson ? pipeline::to_json(found) : pipeline::to_text(found);
}

}  // namespace t2v

#include "pipeline/quantize_folder.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "core/check.h"
#include "pipeline/residency.h"
#include "weights/checkpoint_files.h"
#include "weights/json_file.h"
#include "weights/model_scan.h"
#include "weights/sha256.h"

namespace t2v::pipeline {
namespace fs = std::filesystem;
namespace {

using weights::base_name;
using weights::ComponentFiles;
using weights::JsonFile;

constexpr const char* kTransformerFile = "diffusion_pytorch_model.safetensors";
constexpr int64_t kSpareBytes = int64_t{16} << 20;  // journal, configs, directories
constexpr int64_t kDefaultTextLen = 512;

// Every file of the component, and the index that names them.
std::vector<std::string> files_of(const Model& m, const ComponentFiles& component) {
  std::vector<std::string> paths;
  for (const auto& file : component.checkpoint->files()) paths.push_back(file->name());
  if (m.storage->look(component.path) == weights::PathKind::kFolder) {
    const auto found = weights::find_checkpoint_file(*m.storage, component.path, ErrorKind::kModel);
    if (found.is_index) paths.push_back(found.paths.at(0));
  } else if (component.path.ends_with(".index.json")) {
    paths.push_back(component.path);
  }
  return paths;
}

void copy_config(const ComponentFiles& component, const std::string& to, TargetLayout& layout) {
  if (!component.config.empty()) layout.copies.push_back({"", component.config, to});
}

void copy_vae(const Model& m, TargetLayout& layout) {
  copy_config(m.folder.vae, "vae/config.json", layout);
  for (const std::string& path : files_of(m, m.folder.vae))
    layout.copies.push_back({"vae", path, "vae/" + base_name(path)});
}

void copy_tokenizer(const Model& m, const std::string& folder, TargetLayout& layout) {
  if (!m.folder.tokenizer_model.empty())
    layout.copies.push_back({"", m.folder.tokenizer_model, folder + "/spiece.model"});
  if (!m.folder.tokenizer_config.empty())
    layout.copies.push_back({"", m.folder.tokenizer_config, folder + "/tokenizer_config.json"});
}

bool stays_diffusers(const Model& m) {
  const weights::ModelFolder& f = m.folder;
  if (f.layout != "diffusers" || f.tokenizer_model.empty()) return false;
  for (const ComponentFiles* part : {&f.transformer, &f.text_encoder, &f.vae})
    if (part->config.empty()) return false;
  if (!m.two_experts()) return true;
  // A second expert from the command line is not in the index.
  const JsonFile index = JsonFile::read(*m.storage->open(f.index()));
  return !f.transformer_2.config.empty() && index.has_value("transformer_2") &&
         index.get_string_list("transformer_2").at(0) != "";
}

TargetLayout diffusers_layout(const Model& m) {
  TargetLayout layout;
  layout.transformer = std::string("transformer/") + kTransformerFile;
  layout.text_encoder = "text_encoder/model.safetensors";
  copy_config(m.folder.transformer, "transformer/config.json", layout);
  copy_config(m.folder.text_encoder, "text_encoder/config.json", layout);
  if (m.two_experts()) {
    layout.transformer_2 = std::string("transformer_2/") + kTransformerFile;
    copy_config(m.folder.transformer_2, "transformer_2/config.json", layout);
  }
  copy_tokenizer(m, "tokenizer", layout);
  if (!m.folder.scheduler_config.empty())
    layout.copies.push_back({"", m.folder.scheduler_config, "scheduler/scheduler_config.json"});
  if (!m.folder.t2v_json.empty()) layout.copies.push_back({"", m.folder.t2v_json, "t2v.json"});
  copy_vae(m, layout);
  layout.index = {"", m.folder.index(), "model_index.json"};
  return layout;
}

// The model's own settings, with what only files of a diffusers folder say.
std::string settings_text(const Model& m) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  if (!m.folder.t2v_json.empty()) {
    settings = nlohmann::ordered_json::parse(
        weights::read_whole_file(*m.storage, m.folder.t2v_json, JsonFile::kMaxBytes), nullptr,
        /*allow_exceptions=*/false);
    T2V_ASSERT(settings.is_object());  // it was read when the model was opened
  }
  if (!settings.contains("text_len") && m.text_len != kDefaultTextLen)
    settings["text_len"] = m.text_len;
  if (!settings.contains("boundary") && m.two_experts() && m.folder.boundary_ratio)
    settings["boundary"] = *m.folder.boundary_ratio;
  return settings.empty() ? "" : settings.dump(2) + "\n";
}

TargetLayout wan_layout(const Model& m) {
  TargetLayout layout;
  const std::string high = m.two_experts() ? "high_noise_model/" : "";
  layout.transformer = high + kTransformerFile;
  copy_config(m.folder.transformer, high + "config.json", layout);
  if (m.two_experts()) {
    layout.transformer_2 = std::string("low_noise_model/") + kTransformerFile;
    copy_config(m.folder.transformer_2, "low_noise_model/config.json", layout);
  }
  layout.text_encoder = "models_t5_umt5-xxl-enc-int8.safetensors";
  copy_config(m.folder.text_encoder, "models_t5_umt5-xxl-enc-int8.json", layout);
  copy_tokenizer(m, "google/umt5-xxl", layout);
  const std::string settings = settings_text(m);
  if (!settings.empty()) layout.made.push_back({"t2v.json", settings});
  copy_vae(m, layout);
  return layout;
}

// The tokenizer that lies in a text encoder's file becomes a file of its own.
void add_inner_tokenizer(const Model& m, TargetLayout& layout) {
  if (!m.folder.tokenizer_model.empty()) return;
  for (const weights::TensorEntry& entry : m.folder.text_encoder.checkpoint->tensors()) {
    if (!entry.name.ends_with("spiece_model") || entry.dtype != c10::ScalarType::Byte) continue;
    const at::Tensor bytes = m.folder.text_encoder.checkpoint->load(entry.name);
    layout.made.push_back(
        {"google/umt5-xxl/spiece.model",
         std::string(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes())});
    return;
  }
}

// Size and time of a local file; of others the size, which their headers stand beside.
std::string identity_of(const std::string& path, int64_t bytes) {
  struct stat status {};
  if (weights::is_remote(path) || ::stat(path.c_str(), &status) != 0)
    return core::str(path, " ", bytes, "\n");
  return core::str(path, " ", status.st_size, " ", status.st_mtim.tv_sec, ".",
                   status.st_mtim.tv_nsec, "\n");
}

void describe_component(const ComponentFiles& files, weights::Sha256& sum) {
  if (!files) return;
  std::string text;
  for (const auto& file : files.checkpoint->files())
    text += identity_of(file->name(), file->size());
  for (const weights::TensorEntry& e : files.checkpoint->tensors())
    text += core::str(e.name, " ", weights::stored_type_name(e), " ", c10::IntArrayRef(e.shape),
                      " ", e.file_index, " ", e.offset, "\n");
  sum.add(std::as_bytes(std::span(text)));
}

fs::path resolved(const std::string& path) {
  std::error_code failed;
  const fs::path full = fs::weakly_canonical(fs::absolute(path, failed), failed);
  return failed ? fs::path(path) : full;
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const fs::path relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

// The folder of the model, or of the files that were given.
void require_apart(const std::string& folder, const Model& m) {
  const fs::path target = resolved(folder);
  std::set<std::string> sources;
  if (!m.folder.path.empty()) sources.insert(m.folder.path);
  const weights::ModelFolder& f = m.folder;
  for (const ComponentFiles* part : {&f.transformer, &f.transformer_2, &f.text_encoder, &f.vae})
    if (*part) sources.insert(part->path);
  std::error_code ignored;
  for (const std::string& source : sources) {
    if (weights::is_remote(source)) continue;
    const fs::path path = resolved(source);
    const bool is_folder = fs::is_directory(path, ignored);
    T2V_REQUIRE(
        target != path && !(is_folder && is_inside(target, path)) && !is_inside(path, target),
        ErrorKind::kUsage, "-o: '", folder, "' is MODEL itself, lies in it or holds it ('", source,
        "'); try a new folder outside it");
  }
}

}  // namespace

TargetLayout plan_layout(const Model& model) {
  TargetLayout layout = stays_diffusers(model) ? diffusers_layout(model) : wan_layout(model);
  add_inner_tokenizer(model, layout);
  std::set<std::string> names;
  for (const CopiedFile& file : layout.copies)
    T2V_REQUIRE(names.insert(file.to).second, ErrorKind::kModel,
                "two files of the model have one name: '", file.to, "' (", file.from, ")");
  return layout;
}

QuantizeJob describe_job(const Model& model, const EngineOptions& options) {
  QuantizeJob job;
  job.options = core::str("int8, rotation ", options.int8_rotation,
                          options.quant_preset == QuantPreset::kQuality ? ", quality" : "");
  weights::Sha256 sum;
  const weights::ModelFolder& f = model.folder;
  for (const ComponentFiles* part : {&f.transformer, &f.transformer_2, &f.text_encoder, &f.vae})
    describe_component(*part, sum);
  for (const LoraOption& lora : options.loras) {
    job.options += core::str(", LoRA ", lora.path, "@", lora.expert, ":", lora.strength);
    const std::string text =
        identity_of(lora.path, model.storage->look(lora.path) == weights::PathKind::kFile
                                   ? model.storage->open(lora.path)->size()
                                   : 0);
    sum.add(std::as_bytes(std::span(text)));
  }
  job.source = sum.finish();
  return job;
}

void prepare_folder(const std::string& folder, const Model& model) {
  T2V_REQUIRE(!folder.empty() && !weights::is_remote(folder), ErrorKind::kUsage, "-o: '", folder,
              "' is not a folder of this machine; try a path");
  require_apart(folder, model);
  std::error_code failed;
  fs::create_directories(folder, failed);
  T2V_REQUIRE(!failed && fs::is_directory(folder, failed), ErrorKind::kOutput,
              "cannot make the folder: ", failed ? failed.message() : "it is a file", " ('", folder,
              "'); try another -o");
  T2V_REQUIRE(::access(folder.c_str(), W_OK | X_OK) == 0, ErrorKind::kOutput,
              "cannot write into the folder: ", std::strerror(errno), " ('", folder,
              "'); try another -o");
  if (fs::exists(fs::path(folder) / kJournalName, failed)) return;
  const fs::directory_iterator entries(folder, failed);
  T2V_REQUIRE(!failed && entries == fs::directory_iterator(), ErrorKind::kUsage,
              "-o: the folder is not empty ('", folder,
              "'); try a new one, or delete what is in it");
}

void require_space(const std::string& folder, int64_t bytes) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) return;
  const auto free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  T2V_REQUIRE(free >= bytes + kSpareBytes, ErrorKind::kOutput,
              "no space: the quantised model takes ", gigabytes(bytes), " more, there are ",
              gigabytes(free), " free ('", folder, "'); free some or try -o on another disk");
}

}  // namespace t2v::pipeline

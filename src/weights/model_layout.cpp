#include "weights/model_layout.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/check.h"
#include "core/escape.h"
#include "weights/byte_source.h"

namespace t2v::weights {
namespace fs = std::filesystem;
namespace {

constexpr const char* kWanted =
    "this version reads model folders in the diffusers layout (model_index.json)";

std::vector<std::string> list_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator next(folder, error);
  for (; !error && next != fs::directory_iterator(); next.increment(error)) {
    names.push_back(next->path().filename().string());
  }
  T2V_REQUIRE(!error, ErrorKind::kModel, "cannot read model folder: ", error.message(), " (",
              folder, ")");
  std::sort(names.begin(), names.end());
  return names;
}

bool any_ends_with(const std::vector<std::string>& names, std::string_view suffix) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name.ends_with(suffix); });
}

bool any_is(const std::vector<std::string>& names, std::initializer_list<const char*> wanted) {
  return std::any_of(wanted.begin(), wanted.end(), [&](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  });
}

// nullptr: nothing known.
const char* layout_of(const std::vector<std::string>& names) {
  const bool native_parts =
      any_ends_with(names, "_VAE.pth") ||
      any_is(names, {"high_noise_model", "low_noise_model", "models_t5_umt5-xxl-enc-bf16.pth"});
  if (native_parts) return "the original Wan layout";
  if (any_ends_with(names, ".gguf")) return "a folder of GGUF files";
  if (any_is(names, {"diffusion_models", "split_files", "text_encoders"}))
    return "a ComfyUI folder";
  if (any_ends_with(names, ".pth") || any_ends_with(names, ".pt") || any_ends_with(names, ".bin")) {
    return "a folder of torch files";
  }
  return nullptr;
}

}  // namespace

void refuse_file_as_model(const std::string& path) {
  const LocalFile file(path);  // refuses pipes and devices
  std::array<char, 16> raw{};
  const auto count = static_cast<size_t>(std::min<int64_t>(file.size(), raw.size()));
  file.read(0, std::as_writable_bytes(std::span(raw.data(), count)));
  const std::string_view start(raw.data(), count);
  const char* kind = start.starts_with("GGUF")         ? "a GGUF file"
                     : start.starts_with("PK\x03\x04") ? "a torch archive"
                     : count > 8 && start[8] == '{'    ? "a single safetensors file"
                                                       : nullptr;
  T2V_REQUIRE(kind == nullptr, ErrorKind::kModel, "unsupported model layout: this is ", kind, "; ",
              kWanted, " (", path, ")");
  throw Error(ErrorKind::kModel,
              core::str("not a model: it is a file, expected a model folder (", path, ")"));
}

void refuse_other_layout(const std::string& path) {
  const std::vector<std::string> names = list_names(path);
  T2V_REQUIRE(!names.empty(), ErrorKind::kModel, "not a model: the folder is empty (", path, ")");
  const char* layout = layout_of(names);
  T2V_REQUIRE(layout == nullptr, ErrorKind::kModel, "unsupported model layout: this looks like ",
              layout, "; ", kWanted, " (", path, ")");
  const bool has_weights =
      any_ends_with(names, ".safetensors") || any_ends_with(names, ".safetensors.index.json");
  T2V_REQUIRE(!has_weights || !any_is(names, {"config.json"}), ErrorKind::kModel,
              "not a model: this is one component of a model, expected the folder above it (", path,
              ")");
  T2V_REQUIRE(!has_weights, ErrorKind::kModel,
              "unsupported model layout: this looks like a folder of single files; ", kWanted, " (",
              path, ")");
  throw Error(ErrorKind::kModel,
              core::str("not a model: model_index.json is missing (", path, ")"));
}

}  // namespace t2v::weights

#include "weights/model_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/check.h"
#include "core/escape.h"
#include "weights/byte_source.h"
#include "weights/json_file.h"
#include "weights/model_layout.h"

namespace t2v::weights {
namespace fs = std::filesystem;
namespace {

constexpr const char* kIndexName = "model_index.json";

std::string join(const std::string& folder, const char* name) {
  return (fs::path(folder) / name).string();
}

enum class Presence { kAbsent, kFolder, kOther };

// Throws for anything but "there" and "not there" (no permission, a link to itself).
Presence look(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0)
    return S_ISDIR(status.st_mode) ? Presence::kFolder : Presence::kOther;
  const int error = errno;
  T2V_REQUIRE(error == ENOENT || error == ENOTDIR, ErrorKind::kModel,
              "cannot open model: ", std::strerror(error), " (", path, ")");
  return Presence::kAbsent;
}

// A component's entry in the index: [library, class], or [null, null] for none.
std::string component_class(const JsonFile& index, const std::string& component) {
  if (!index.has_value(component)) return "";
  const std::vector<std::string> entry = index.get_string_list(component);
  if (entry.size() != 2 || entry[0].empty() != entry[1].empty())
    index.refuse(component, "[library, class]");
  return entry[1];
}

// The folder of a component, with the file that every such folder has.
std::string component_folder(const std::string& model, const char* component, const char* needed) {
  const std::string folder = join(model, component);
  const Presence presence = look(folder);
  T2V_REQUIRE(presence != Presence::kAbsent, ErrorKind::kModel, "incomplete model: component '",
              component, "' is named in ", kIndexName, " but is not there (", folder,
              "); try to download it again");
  T2V_REQUIRE(presence == Presence::kFolder, ErrorKind::kModel, "broken model: component '",
              component, "' is not a folder (", folder, ")");
  T2V_REQUIRE(look(join(folder, needed)) != Presence::kAbsent, ErrorKind::kModel,
              "incomplete model: component '", component, "' has no '", needed, "' (",
              join(folder, needed), "); try to download it again");
  return folder;
}

void require_class(const JsonFile& index, const std::string& component,
                   const std::vector<std::string>& known) {
  const std::string name = component_class(index, component);
  if (name.empty()) index.refuse(component, "[library, class]; this model has no such component");
  if (std::find(known.begin(), known.end(), name) == known.end())
    index.refuse(component, "class " + known[0]);
}

std::string pipeline_class(const JsonFile& index) {
  std::string name = index.get_string("_class_name");
  if (!name.starts_with("Wan") || !name.ends_with("Pipeline"))
    index.refuse("_class_name", "\"WanPipeline\"");
  return name;
}

void require_folder(const std::string& path) {
  T2V_REQUIRE(!path.empty(), ErrorKind::kModel,
              "no such model: its path is empty; try --model PATH");
  const Presence presence = look(path);
  T2V_REQUIRE(presence != Presence::kAbsent, ErrorKind::kModel,
              "no such model: ", std::strerror(ENOENT), " (", path,
              "); try --model PATH with a model folder");
  if (presence == Presence::kOther) refuse_file_as_model(path);
  if (look(join(path, kIndexName)) == Presence::kAbsent) refuse_other_layout(path);
}

std::string if_there(const std::string& path) {
  return look(path) == Presence::kAbsent ? "" : path;
}

}  // namespace

ModelFolder open_model_folder(const std::string& path) {
  require_folder(path);
  const JsonFile index = JsonFile::read(join(path, kIndexName));
  ModelFolder folder;
  folder.path = path;
  folder.class_name = pipeline_class(index);
  folder.boundary_ratio = index.find_double("boundary_ratio", 0.0, 1.0);
  folder.expand_timesteps = index.find_bool("expand_timesteps").value_or(false);
  require_class(index, "transformer", {"WanTransformer3DModel"});
  require_class(index, "text_encoder", {"UMT5EncoderModel"});
  require_class(index, "vae", {"AutoencoderKLWan"});
  folder.transformer = component_folder(path, "transformer", "config.json");
  if (!component_class(index, "transformer_2").empty()) {
    require_class(index, "transformer_2", {"WanTransformer3DModel"});
    folder.transformer_2 = component_folder(path, "transformer_2", "config.json");
  }
  folder.text_encoder = component_folder(path, "text_encoder", "config.json");
  folder.vae = component_folder(path, "vae", "config.json");
  const std::string tokenizer = component_folder(path, "tokenizer", "spiece.model");
  folder.tokenizer_model = join(tokenizer, "spiece.model");
  folder.tokenizer_config = if_there(join(tokenizer, "tokenizer_config.json"));
  folder.scheduler_config =
      join(component_folder(path, "scheduler", "scheduler_config.json"), "scheduler_config.json");
  folder.t2v_json = if_there(join(path, "t2v.json"));
  return folder;
}

}  // namespace t2v::weights
